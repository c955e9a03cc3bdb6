"""What an optimizer's settings and state come to in a low dtype, found by taking its steps there.

Torch computes with settings as float32 numbers and rounds each result once to the dtype of the
tensors. So a beta of 0.999 is not 1 in bfloat16; but v times 0.999, rounded, is v again. And an eps
that is added to a float16 tensor is gone if float16 has no room for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from halfulp.catalogue import format
from halfulp.conversion import cast
from halfulp.language import N_, Told, joined, told
from halfulp.training.linting.probes import Probe, number_of, settings_of, significands
from halfulp.training.linting.records import Evidence, Finding, evidence, few

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
LOW = ("float16", "bfloat16")
#: Classes that multiply the weight by 1 - lr × weight_decay, in a step of its own.
_DECOUPLED = ("AdamW", "Muon", "Adafactor")
#: Which setting makes a state forget, by the state's name.
_FORGETTING = {
    "exp_avg": "betas[0]", "exp_avg_sq": "betas[1]", "exp_inf": "betas[1]", "square_avg": "alpha",
    "momentum_buffer": "momentum", "acc_delta": "rho",
}  # fmt: skip


class Place(NamedTuple):
    """A group of the optimizer in a format: where it runs, or where it was asked about."""

    optimizer: Optimizer
    number: int
    format: str
    running: bool

    @property
    def group(self) -> dict[str, Any]:
        """The group's settings."""
        found: dict[str, Any] = self.optimizer.param_groups[self.number]
        return found

    @property
    def where(self) -> str:
        """In words."""
        return told("group {number}, {format}", number=self.number, format=self.format)

    def severity(self, running: str) -> str:
        """How grave it is: what does not run so is a warning at most."""
        return "warning" if running == "error" and not self.running else running

    def probe(self, values: Tensor, dtype: torch.dtype | None = None) -> Probe:
        """The group's settings on some weights, in the format or another dtype."""
        return Probe(self.optimizer, self.number, values.to(dtype or DTYPES[self.format]))

    def starts(self) -> Told:
        """How a sentence begins."""
        text = N_("On {format} parameters {optimizer}")
        if self.running:
            text = N_("On its {format} parameters {optimizer}")
        return told(text, format=self.format, optimizer=type(self.optimizer).__name__)


def rule_findings(place: Place, rate: float) -> Iterator[Finding]:
    """All of one group in one format; ``rate`` is the largest learning rate it will have."""
    if place.running:
        yield from decay(place, rate)
        yield from tensors(place)
    if place.format in LOW:
        yield from zero_over_zero(place)
        yield from states(place)
        if not place.running:
            yield from decay(place, rate)
    if place.format != "float32":
        yield from constants(place)


def zero_over_zero(place: Place) -> Iterator[Finding]:
    """An eps that vanishes, and what torch then makes of gradients that are zero or small."""
    ones = torch.ones(1, 32)
    probe = place.probe(ones)
    for _ in range(8):
        stepped = probe.step(torch.zeros(1, 32))
    if bool(torch.isfinite(stepped).all()):
        return
    gradients = (2.0 ** -torch.arange(32)).view(1, 32)
    probe = place.probe(ones)
    for _ in range(8):
        stepped = probe.step(gradients)
    broken = gradients[~torch.isfinite(stepped)]
    beyond = [] if not broken.numel() else [float(broken.max())]
    small: str = ""
    if beyond:
        small = told(" A constant gradient of {size:g} or less breaks it too.", size=beyond[0])
    eps = number_of(place.group.get("eps"))
    gone = eps is not None and float(cast(eps, place.format)) == 0
    cause = told(
        ": eps = {eps:g} is added to a {format} tensor, where it is 0 (the least number is "
        "{least:.3g})",
        eps=eps or 0.0, format=place.format, least=float(format(place.format).least_positive),
    )  # fmt: skip
    found = [] if eps is None else [Evidence("eps", eps)]
    yield Finding(
        "eps-vanishes" if gone else "state-vanishes", place.severity("error"), place.where,
        told(
            "{starts} makes NaN of a weight whose gradient is 0{cause}.{small} Keep weights that "
            "the optimizer updates, and so its state, in float32.",
            starts=place.starts(), cause=cause if gone else "", small=small,
        ),
        (*found, *(Evidence("gradient", g) for g in beyond)),
        f"halfulp explain {eps!r} --to {place.format}" if gone else None,
    )  # fmt: skip


def states(place: Place) -> Iterator[Finding]:
    """State in a low dtype, and state that cannot forget."""
    spread = significands(DTYPES[place.format])
    low, exact = place.probe(spread * 0), place.probe(spread * 0, torch.float64)
    before = _stepped(low, exact, spread)
    after = _stepped(low, exact, spread * 0)
    names = [n for n, x in before[0].items() if x.dtype is DTYPES[place.format]]
    if names and place.running:
        yield _low_state(place, names)
    for name in names:
        was, now = (x[0][name] for x in (before, after))
        shrunk = before[1][name].abs() > after[1][name].abs()
        meant = shrunk & (exact.parameter != after[1][name])  # an average of weights is no state
        stuck = int((meant & (was == now)).sum())
        if meant.any() and 2 * stuck > int(meant.sum()):
            yield _stuck(place, name, stuck, int(meant.sum()))


def _stepped(low: Probe, exact: Probe, gradient: Tensor) -> tuple[dict[str, Tensor], ...]:
    low.step(gradient)
    exact.step(gradient)
    return low.states(), exact.states()


def _low_state(place: Place, names: list[str]) -> Finding:
    f = format(place.format)
    half = float(f.least_positive) / 2
    least = told(", and what is {half:.2g} or less becomes 0", half=half) if f.emin > -126 else ""
    return Finding(
        "low-state", "warning" if place.format == "float16" else "note", place.where,
        told(
            "{optimizer} keeps {names} in {format}, the dtype of its parameters: {bits} bits of "
            "each number{least}.",
            optimizer=type(place.optimizer).__name__, names=few(names), format=place.format,
            bits=f.precision, least=least,
        ),
        evidence(precision=f.precision, states=len(names)),
    )  # fmt: skip


def _stuck(place: Place, name: str, stuck: int, meant: int) -> Finding:
    label = _FORGETTING.get(name, "")
    kept = settings_of(place.group).get(label)
    setting = told(" ({label} = {kept!r})", label=label, kept=kept) if kept is not None else ""
    numbers = [] if kept is None else [Evidence(label, kept)]
    command = None
    if kept is not None and label.startswith("betas"):
        command = f"halfulp multiply 1.0:{place.format} {kept!r}:float32 --in {place.format}"
    return Finding(
        "state-stalls", "warning", place.where,
        told(
            "{starts} never lets {name} shrink{setting}: what it takes off a number rounds back, "
            "for {stuck} of {all} significands.",
            starts=place.starts(), name=name, setting=setting, stuck=stuck, all=meant,
        ),
        (*numbers, *evidence(stuck=stuck, of=meant)), command,
    )  # fmt: skip


def decay(place: Place, rate: float) -> Iterator[Finding]:
    """A weight decay that multiplies by a factor so near to 1 that the product rounds back."""
    settings = settings_of(place.group)
    strength = settings.get("weight_decay", 0.0)
    apart = type(place.optimizer).__name__ in _DECOUPLED or bool(
        place.group.get("decoupled_weight_decay")
    )
    if not apart or not strength or not rate or place.format not in DTYPES:
        return
    weights = significands(DTYPES[place.format])
    factor = 1 - rate * strength
    stuck = int((weights.clone().mul_(factor) == weights).sum())
    if 2 * stuck <= weights.numel():
        return
    share = told("no weight") if stuck == weights.numel() else told("few weights")
    yield Finding(
        "decay-lost", "warning" if place.format in LOW else "note", place.where,
        told(
            "{starts} decays {share}: multiplied by 1 - lr × weight_decay = 1 - {taken:.3g}, "
            "{stuck} of {all} significands tried round back to themselves.",
            starts=place.starts(), share=share, taken=rate * strength, stuck=stuck,
            all=weights.numel(),
        ),
        evidence(lr=rate, weight_decay=strength, stuck=stuck, of=weights.numel()),
        f"halfulp multiply 1.0:{place.format} {factor!r}:float64 --in {place.format}",
    )  # fmt: skip


def tensors(place: Place) -> Iterator[Finding]:
    """Settings that are tensors of a low dtype, and so are rounded before they act."""
    for name, value in place.group.items():
        several = value if isinstance(value, (tuple, list)) else [value]
        for one in several if name not in ("params", "initial_lr") else ():
            if isinstance(one, Tensor) and one.dtype in (torch.float16, torch.bfloat16):
                dtype = str(one.dtype).removeprefix("torch.")
                gone = number_of(one) == 0
                yield Finding(
                    "setting-in-format", "warning" if gone else "note", place.where,
                    told(
                        "{name} is a {dtype} tensor and acts as {value!r}{nothing}; as a number it "
                        "would act in float32.",
                        name=name, dtype=dtype, value=number_of(one),
                        nothing=told(": as nothing") if gone else "",
                    ),
                    evidence(value=number_of(one) or 0.0),
                )  # fmt: skip


def constants(place: Place) -> Iterator[Finding]:
    """Settings that a format takes for 0 or 1; a note, as torch does not put them there."""
    gone = []
    added = ("eps", "eps[0]", "eps[1]") if place.format in LOW else ()  # which zero_over_zero tries
    for name, value in settings_of(place.group).items():
        held = float(cast(value, place.format))
        if value not in (0.0, 1.0) and held in (0.0, 1.0) and name not in added:
            gone.append((name, value, held))
    if gone:
        taken = [
            told("{name} = {value!r} is {held:g}", name=name, value=value, held=held)
            for name, value, held in gone
        ]
        yield Finding(
            "constants-in-format", "note", place.where,
            told(
                "In {format} {settings}. Torch computes with settings in float32, where they keep "
                "their values; an optimizer that holds them in the format does not.",
                format=place.format, settings=joined(taken, ", "),
            ),
            tuple(Evidence(name, value) for name, value, _ in gone),
            f"halfulp explain {gone[0][1]!r} --to {place.format}",
        )  # fmt: skip
