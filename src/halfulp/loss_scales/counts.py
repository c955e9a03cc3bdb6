"""What is asked of gradients, whatever is known of them: counts for a scaled cast, and the fit.

Of arrays everything is exact. Of a recorded run there are histograms by binade, which leave open
what becomes of the binade that a bound lies in: counts have a least and a most.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Protocol

from halfulp.catalogue import Format
from halfulp.language import translate as _
from halfulp.loss_scales.bounds import Edges
from halfulp.records import Record


class Counts(NamedTuple):
    """How many nonzero finite elements a scaled cast treats so: at least, and at most."""

    zero: int
    zero_most: int
    subnormal: int
    subnormal_most: int
    overflow: int
    overflow_most: int


class Fit(NamedTuple):
    """The powers of two that fit as scales, ends included; None where an end cannot be told."""

    least: Fraction | None  # that keeps the share of each tensor
    largest: Fraction | None  # that overflows nothing
    bound_below: str | None  # the tensor that asks for the least
    bound_above: str | None  # the tensor with the largest element
    hidden: str | None  # a tensor that was narrow already: what became zero in it is not seen


@dataclass(frozen=True)
class Looked(Record):
    """What was looked at."""

    name: str
    step: int | None  # None where there are no steps
    tensors: int
    elements: int  # looked at
    of_elements: int  # that they stand for
    nonzero: int  # and finite
    zero: int  # already
    nonfinite: int
    exact: bool  # whether each element is known, or its binade alone

    @property
    def title(self) -> str:
        """Its name and step, in the language in use."""
        if self.step is None:
            return self.name
        return _("{name}, step {step}").format(name=self.name, step=f"{self.step:,}")


class Gradients(Protocol):
    """Gradients that scales are tried on."""

    @property
    def looked(self) -> Looked:
        """What was looked at."""

    @property
    def binades(self) -> tuple[tuple[int, int], ...]:
        """``(e, elements with 2**e <= |g| < 2**(e + 1))``, ascending; those that are not empty."""

    def counts(self, edges: Edges) -> Counts:
        """What a scaled cast does to the elements."""

    def fit(self, target: Format, keep: Fraction) -> Fit:
        """The scales that keep a share of each tensor's nonzero elements and overflow none."""
