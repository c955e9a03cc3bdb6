"""Steps that went wrong: which gradient was not finite first, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from halfulp.runs.samples import Event

#: Dtypes whose sums may overflow where no term does.
NARROW = (torch.float16, torch.bfloat16)


class Flags:
    """Whether gradients are finite, parameter by parameter, in the order they come in.

    Each is added up while it is in the caches, in float32 or wider, where a sum is not finite if
    any of its terms is not. Nothing waits for a device until it is asked.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def note(self, name: str, gradient: Tensor) -> None:
        """A gradient that has just come in."""
        if gradient.layout is torch.strided:
            self._sums.pop(name, None)  # the order is that of the last backward pass
            wide = torch.float32 if gradient.dtype in NARROW else None
            self._sums[name] = gradient.sum(dtype=wide)

    def not_finite(self) -> list[str]:
        """The parameters whose gradients are not finite, the first to come first."""
        by_dtype: dict[torch.dtype, list[str]] = {}
        for name, total in self._sums.items():
            by_dtype.setdefault(total.dtype, []).append(name)
        wrong = set()
        for names in by_dtype.values():
            finite = torch.isfinite(torch.stack([self._sums[name] for name in names]))
            wrong |= {name for name, fine in zip(names, finite.tolist(), strict=True) if not fine}
        return [name for name in self._sums if name in wrong]

    @property
    def is_at_hand(self) -> bool:
        """Whether asking waits for no device."""
        return all(total.is_cpu for total in self._sums.values())

    def clear(self) -> None:
        """The next step begins."""
        self._sums = {}


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


def skip_event(
    step: int, scale: float, after: float, flags: Flags, operators: Mapping[str, str],
    output_finite: bool,
) -> Event:  # fmt: skip
    """A step that the loss scaler skipped, with the gradient that was not finite first."""
    wrong = flags.not_finite()
    told = [f"step {step} was skipped at loss scale {scale:g}, now {after:g}:"]
    if wrong:
        operator = operators.get(wrong[0])
        place = f"{wrong[0]}" + (f" (read by {operator})" if operator else "")
        told.append(f"the gradient of {place} came in first that is not finite,")
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
