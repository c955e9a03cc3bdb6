"""Steps that went wrong: which gradient was not finite first, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from halfulp.runs.samples import Event

#: Dtypes whose sums may overflow where no term does.
NARROW = (torch.float16, torch.bfloat16)
#: Gradients that are probed in every step, the smallest ones: what is not finite passes them on its
#: way back. All of them in every step would cost a percent of it.
PROBES = 16


class Flags:
    """Whether gradients are finite, parameter by parameter, in the order they come in.

    Each is added up in float32 or wider, where a sum is not finite if any of its terms is not; all
    of them at the end of a backward pass, which takes half the time of one by one while it runs.
    Nothing waits for a device until it is asked.
    """

    def __init__(self) -> None:
        self._came: list[str] = []
        self._sums: dict[str, Tensor] = {}

    def note(self, name: str) -> None:
        """A gradient has just come in."""
        self._came.append(name)

    def add_up(self, gradient_of: Callable[[str], Tensor | None]) -> None:
        """The backward pass has ended: add up the gradients that came in during it."""
        for name in self._came:
            gradient = gradient_of(name)
            if gradient is not None and gradient.layout is torch.strided:
                self._sums.pop(name, None)  # the order is that of the last backward pass
                self._sums[name] = _total(gradient)
        self._came.clear()

    @property
    def names(self) -> list[str]:
        """The parameters whose gradients came in, in order."""
        return list(self._sums)

    def not_finite(self) -> list[str]:
        """The parameters whose gradients are not finite, the first to come first."""
        return [
            n for n, fine in zip(self._sums, _finite(self._sums.values()), strict=True) if not fine
        ]

    def clear(self) -> None:
        """The next step begins."""
        self._sums = {}
        self._came.clear()


def probe(gradients: Mapping[str, Tensor], order: Sequence[str]) -> list[str]:
    """The parameters whose gradients are not finite, in an order, where the smallest tell of it.

    Nothing where asking would wait for a device.
    """
    small = sorted(gradients.values(), key=torch.numel)[:PROBES]
    if not all(g.is_cpu for g in small) or all(_finite([_total(g) for g in small])):
        return []
    flags = Flags()
    places = {name: place for place, name in enumerate(order)}
    for name in sorted(gradients, key=lambda name: places.get(name, len(places))):
        flags.note(name)
    flags.add_up(gradients.get)
    return flags.not_finite()


def _total(gradient: Tensor) -> Tensor:
    return gradient.sum(dtype=torch.float32 if gradient.dtype in NARROW else None)


def _finite(totals: Iterable[Tensor]) -> list[bool]:
    """Whether each is finite; tensors of one dtype are asked together."""
    every = list(totals)
    if len({total.dtype for total in every}) > 1:
        every = [total.double() for total in every]
    found: list[bool] = torch.isfinite(torch.stack(every)).tolist() if every else []
    return found


def is_finite(values: Any) -> bool:
    """Whether all floats in a tree of tensors are; also where there are none."""
    for x in tree_flatten(values)[0]:
        if isinstance(x, Tensor) and x.is_floating_point() and x.numel():
            least, largest = torch.aminmax(x.detach())
            if not bool(torch.isfinite(least + largest)):
                return False
    return True


def bad_samples(values: Any) -> list[int]:
    """The first indices along the first axis at which inputs are not finite."""
    for x in tree_flatten(values)[0]:
        if isinstance(x, Tensor) and x.is_floating_point() and x.ndim and not is_finite(x):
            rows = ~torch.isfinite(x.detach().reshape(len(x), -1)).all(1)
            return [int(i) for i in rows.nonzero().flatten()[:5]]
    return []


def place_of(parameter: str, operators: Mapping[str, str]) -> str:
    """A parameter, and which operator reads it, where that is known."""
    operator = operators.get(parameter)
    return f"{parameter} (read by {operator})" if operator else parameter


def skip_event(
    step: int, scale: float, after: float, flags: Flags, operators: Mapping[str, str],
    output_finite: bool,
) -> Event:  # fmt: skip
    """A step that the loss scaler skipped, with the gradient that was not finite first."""
    wrong = flags.not_finite()
    told = [f"step {step} was skipped at loss scale {scale:g}, now {after:g}:"]
    if wrong:
        told.append(
            f"the gradient of {place_of(wrong[0], operators)} came in first that is not finite,"
        )
        told.append(f"and {len(wrong)} parameters have such gradients")
    else:
        told.append("gradients that are not watched were not finite")
    if not output_finite:
        told.append("since the model's output was not finite already, no scale can help")
    details = {
        "parameters": len(wrong), "first": wrong[:5], "output_finite": output_finite,
        "operator": operators.get(wrong[0]) if wrong else None,
    }  # fmt: skip
    first = wrong[0] if wrong else None
    return Event(step, "skip", " ".join(told), scale, after, first, details)
