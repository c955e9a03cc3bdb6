"""Gradients whose elements are known: sorted once, after which any scale takes a few searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.catalogue import Format, power_of_two
from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.loss_scales.bounds import Edges, bounds, least_power
from halfulp.loss_scales.counts import Counts, Fit, Looked
from halfulp.runs.scale_window import is_narrow

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tensor:
    """The magnitudes of one tensor's gradient."""

    name: str
    dtype: str
    sizes: Array  # nonzero and finite, ascending; float32 or float64, float16 as it is
    zero: int
    nonfinite: int


@dataclass(frozen=True, eq=False)
class Elements:
    """Gradients by tensor, as :func:`of_arrays` makes them."""

    name: str
    step: int | None
    of_elements: int
    tensors: tuple[Tensor, ...]

    @cached_property
    def sizes(self) -> Array:
        """The nonzero finite magnitudes of all tensors, ascending."""
        if len(self.tensors) == 1:
            return self.tensors[0].sizes
        return np.sort(np.concatenate([tensor.sizes for tensor in self.tensors]))

    @cached_property
    def looked(self) -> Looked:
        """What was looked at."""
        zero = sum(tensor.zero for tensor in self.tensors)
        nonfinite = sum(tensor.nonfinite for tensor in self.tensors)
        nonzero = self.sizes.size
        elements = nonzero + zero + nonfinite
        return Looked(
            self.name, self.step, len(self.tensors), elements, self.of_elements, nonzero, zero,
            nonfinite, exact=True,
        )  # fmt: skip

    @cached_property
    def binades(self) -> tuple[tuple[int, int], ...]:
        """How many nonzero finite elements each binade has."""
        if not self.sizes.size:
            return ()
        low, high = (int(np.frexp(np.float64(x))[1]) - 1 for x in self.sizes[[0, -1]])
        powers = np.ldexp(1.0, np.arange(low, high + 1))
        begins = np.searchsorted(self.sizes, powers.astype(self.sizes.dtype))
        counts = np.diff(begins, append=self.sizes.size).tolist()
        return tuple((low + i, count) for i, count in enumerate(counts) if count)

    def counts(self, edges: Edges) -> Counts:
        """What a scaled cast does to the elements."""
        firsts = [_first_of(self.sizes.dtype, edge) for edge in edges]
        kept, normal, over = (int(i) for i in np.searchsorted(self.sizes, firsts))
        overflow = self.sizes.size - over
        return Counts(kept, kept, normal - kept, normal - kept, overflow, overflow)

    def fit(self, target: Format, keep: Fraction) -> Fit:
        """The scales that keep a share of each tensor's nonzero elements and overflow none."""
        seen = [tensor for tensor in self.tensors if tensor.sizes.size]
        if not seen:
            return Fit(None, None, None, None, None)
        limits = bounds(target)
        hidden = next((t.name for t in self.tensors if is_narrow(t.dtype)), None)
        # The least magnitude of each tensor that must be kept.
        wanted = [t.sizes[_spared(t.sizes.size, keep)] for t in seen]
        low = min(range(len(seen)), key=wanted.__getitem__)
        high = max(range(len(seen)), key=lambda i: seen[i].sizes[-1])
        least = least_power(limits.kept, _exact(wanted[low]))
        largest = least_power(limits.over, _exact(seen[high].sizes[-1])) - 1
        return Fit(
            None if hidden else power_of_two(least), power_of_two(largest),
            None if hidden else seen[low].name, seen[high].name, hidden,
        )  # fmt: skip


def of_arrays(
    name: str,
    arrays: Mapping[str, npt.ArrayLike],
    *,
    step: int | None = None,
    of_elements: int | None = None,
) -> Elements:
    """Gradients from arrays of floats of any shape, by tensor.

    ``of_elements`` says how many elements they stand for, where they are not all. Each array is
    sorted here, once; what is asked later takes less than a millisecond.

    Raises HalfulpError for what is no array of floats.

    >>> found = of_arrays("two", {"weight": np.float32([1.0, 0.0, -0.75])})
    >>> found.binades, found.looked.zero
    (((-1, 1), (0, 1)), 1)
    """
    tensors = tuple(_tensor(tensor, np.asanyarray(x)) for tensor, x in arrays.items())
    if not tensors:
        raise HalfulpError(_("{name} has no tensor: give one at least").format(name=name))
    elements = sum(t.sizes.size + t.zero + t.nonfinite for t in tensors)
    return Elements(name, step, elements if of_elements is None else of_elements, tensors)


def _tensor(name: str, x: Array) -> Tensor:
    from halfulp.backends.numpy import check_dtype

    check_dtype(x)
    native = x.dtype.newbyteorder("=")
    if native not in (np.float16, np.float32, np.float64):
        x = x.astype(np.float32)  # narrower ones, exactly
    sizes = np.abs(x.astype(x.dtype.newbyteorder("="), copy=False)).ravel()
    finite = sizes[np.isfinite(sizes)]
    nonzero = np.sort(finite[finite > 0])
    return Tensor(
        name, native.name, nonzero, finite.size - nonzero.size, sizes.size - finite.size
    )  # fmt: skip


def _spared(elements: int, keep: Fraction) -> int:
    """How many of so many may become zero."""
    lost = 1 - keep
    return elements * lost.numerator // lost.denominator


def _first_of(dtype: np.dtype[Any], edge: float) -> Any:
    """The first number of a dtype at or beyond a magnitude."""
    with np.errstate(over="ignore"):
        first = np.asarray(edge).astype(dtype)[()]
    return np.nextafter(first, dtype.type(np.inf)) if float(first) < edge else first


def _exact(size: Any) -> Fraction:
    return Fraction(float(size))
