"""Arguments at which an operator, or its derivative, is not finite, though the argument is."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Pole(NamedTuple):
    """Where an operator was asked for what is not finite."""

    words: str  # as in "3 of the 12 numbers it read are 0, where its value is not finite"
    value: bool  # whether its value is not finite there; else only its derivative


def pole(operator: str, kept: dict[str, Tensor], exponent: float | None = None) -> Pole | None:
    """Where an operator met a pole, told by what it keeps.

    >>> import torch
    >>> pole("log", {"self": torch.tensor([0.0, 1.0])}).words
    '1 of the 2 numbers it read is 0, where its value is not finite'
    """
    if operator in ("log", "log2", "log10"):
        return _met(kept.get("self"), 0.0, below=True)
    if operator == "log1p":
        return _met(kept.get("self"), -1.0, below=True)
    if operator == "div":
        return _met(kept.get("other"), 0.0, verb="divided by")
    if operator == "sqrt":
        return _met(kept.get("result"), 0.0, value=False, verb="gave")
    if operator in ("asin", "acos"):
        tensor = kept.get("self")
        return _met(tensor.abs() if tensor is not None else None, 1.0, value=False)
    if operator == "pow" and exponent and exponent < 1:
        return _met(kept.get("self"), 0.0, value=exponent < 0)
    return None


def _met(
    tensor: Tensor | None,
    at: float,
    *,
    value: bool = True,
    below: bool = False,
    verb: str = "read",
) -> Pole | None:
    if tensor is None or tensor.is_complex():
        return None
    there, under = int((tensor == at).sum()), int((tensor < at).sum()) if below else 0
    if not there + under:
        return None
    count, which = (there, f"{at:g}") if there else (under, f"less than {at:g}")
    are, what = "is" if count == 1 else "are", "value" if value else "derivative"
    of = f"{count:,} of the {tensor.numel():,} numbers" if tensor.numel() > 1 else "the number"
    return Pole(f"{of} it {verb} {are} {which}, where its {what} is not finite", value)
