"""What went wrong in a training, as events: numbers that are not finite, skips, a moving scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.utils._pytree import tree_flatten

from halfulp.runs.samples import Event
from halfulp.training.origins.graph import operators_of, origin
from halfulp.training.watching.faults import (
    Flags,
    bad_samples,
    is_finite,
    place_of,
    probe,
    skip_event,
)
from halfulp.training.watching.names import plain_name
from halfulp.training.weights import local

#: Events of one kind that are told; a training that stays NaN needs no more.
TOLD = 20


Gradients = Callable[[], Mapping[str, Tensor]]


class Trouble:
    """Notices what is not finite, and says where it came from."""

    def __init__(self, model: Module) -> None:
        self._names = {id(p): plain_name(name) for name, p in model.named_parameters()}
        self._flags = Flags()
        self._order: list[str] = []  # in which gradients come in
        self._operators: dict[str, str] = {}
        self._output_finite = True
        self._told: dict[str, int] = {}

    def clear(self) -> None:
        """The next step begins."""
        self._order = self._flags.names or self._order
        self._flags.clear()
        self._output_finite = True

    def note_gradient(self, name: str) -> None:
        """A gradient has come in."""
        self._flags.note(name)

    def backward_ended(self, parameters: Mapping[str, Tensor]) -> None:
        """All gradients of a backward pass have come in; the parameters by name."""

        def gradient_of(name: str) -> Tensor | None:
            gradient = parameters[name].grad
            return None if gradient is None else local(gradient.detach())

        self._flags.add_up(gradient_of)

    def in_output(self, step: int, inputs: Any, output: Any, sampled: bool) -> Iterator[Event]:
        """The model has returned: is that finite, and if not, since where?

        On devices that run ahead of Python only sampled steps are asked, since asking waits.
        """
        if sampled:
            self._operators = operators_of(output, self._names) or self._operators
        if not sampled and not _at_hand(output):
            return
        if is_finite(output):
            return
        self._output_finite = False
        if self._is_new("nonfinite"):
            yield self._output_event(step, inputs, output)

    def _output_event(self, step: int, inputs: Any, output: Any) -> Event:
        rows = bad_samples(inputs)
        found = origin(output, self._names)
        if rows:
            said = f"the model's input is not finite: sample {rows[0]} of the batch"
            said += f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        elif found is not None:
            said = found.sentence
        else:
            said = "the model's output is not finite, and its graph does not show since where"
        details = {"samples": rows, "origin": None if found is None else found.to_dict()}
        return Event(step, "nonfinite", f"step {step}, forward: {said}", details=details)

    def in_gradients(self, step: int, gradients: Gradients) -> Iterator[Event]:
        """The optimizer is about to take gradients, by name: are they finite?"""
        told = bool(self._flags.names)
        wrong = self._flags.not_finite() if told else probe(gradients(), self._order)
        if wrong and self._is_new("nonfinite gradient"):
            place = place_of(wrong[0], self._operators)
            yield Event(
                step, "nonfinite",
                f"step {step}, backward: the gradient of {place} came in first that is not finite, "
                f"{len(wrong)} parameters have such gradients, and the optimizer takes them",
                parameter=wrong[0], details={"first": wrong[:5], "parameters": len(wrong)},
            )  # fmt: skip

    def scale_moved(
        self, step: int, before: float, after: float, *, skipped: bool
    ) -> Iterator[Event]:
        """The loss scale has changed, or a step was skipped."""
        if skipped:
            yield skip_event(step, before, after, self._flags, self._operators, self._output_finite)
        else:
            yield Event(step, "scale", f"the loss scale is now {after:g}", before, after)

    def changed(self, step: int, sentence: str) -> Event:
        """The model has other parameters than before."""
        return Event(step, "note", f"step {step}: {sentence}")

    def compiled(self) -> Event:
        """What is not seen of a compiled model."""
        return Event(
            0, "note", "the model is compiled: what its modules return is not looked at, since "
            "hooks in it would change what is computed; gradients, weights and updates are",
        )  # fmt: skip

    def unforeseen(self, step: int, sentence: str) -> Event:
        """Updates that are not counted."""
        return Event(step, "note", sentence)

    def _is_new(self, kind: str) -> bool:
        self._told[kind] = self._told.get(kind, 0) + 1
        return self._told[kind] <= TOLD


def _at_hand(output: Any) -> bool:
    """Whether asking for numbers waits for nothing."""
    return all(x.is_cpu for x in tree_flatten(output)[0] if isinstance(x, Tensor))
