"""Elements that a run recorded, and the commands that explain them bit by bit."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.casting import cast_to
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.exact import number
from halfulp.recurrence import state_format
from halfulp.runs.samples import Recorded, Way
from halfulp.updates import walk

if TYPE_CHECKING:
    from halfulp.runs.survey import Survey

Array = npt.NDArray[Any]

SPLIT = "split"
STEPS = 100  # of a walk that a command shows


class Element(NamedTuple):
    """One element of a weight with the update meant for it, and what explains it."""

    name: str  # of the weight
    where: int  # index, in C order
    weight: float
    update: float
    step: int
    sum: str  # both as numbers in their formats
    command: str


def walk_of(way: Way) -> tuple[Format, str]:
    """The format and strategy of a walk that is kept as a way keeps weights: split is float32."""
    if way.strategy == SPLIT:
        return format("float32"), "nearest"
    return format(way.format), way.strategy


def usable(recorded: Recorded) -> tuple[Array, Array, Array]:
    """Indices, weights and updates of the recorded elements that are finite, and have an update."""
    w, d = np.asarray(recorded.weights, float), np.asarray(recorded.updates, float)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(w) & np.isfinite(d) & (d != 0)
    return np.asarray(recorded.where)[good], w[good], d[good]


def lost_element(survey: Survey, series: int, way: Way, decay: float = 0.0) -> Element | None:
    """The recorded element of a weight that loses the largest update under a way, if there is one.

    With a ``decay`` the update is that share of the weight, toward zero.
    """
    recorded = survey.recorded.get(series)
    if recorded is None:
        return None
    where, weights, updates = usable(recorded)
    if decay:
        where, weights = where[weights != 0], weights[weights != 0]
        updates = -decay * weights
    target, strategy = walk_of(way)
    if not where.size:
        return None
    try:
        lost = walk(weights, updates, 1, target, strategy, gradient_format="none", seed=0).lost > 0
    except HalfulpError:  # a format that weights cannot walk in
        return None
    if not lost.any():
        return None
    found = int(np.flatnonzero(lost)[np.abs(updates[lost]).argmax()])
    weight, update = float(weights[found]), float(updates[found])
    told = " + ".join(_operands(way, weight, update))
    by = command(way, weight, update)
    name = survey.series[series].name
    return Element(name, int(where[found]), weight, update, recorded.step, told, by)


def command(way: Way, weight: float, update: float) -> str:
    """What shows an update arrive or not: one addition, or a walk where a strategy takes part.

    >>> command(Way("bfloat16", "nearest"), 1.125, 0.00042)
    'halfulp add 1.125:bfloat16 0.00042:float64 --in bfloat16'
    >>> command(Way("bfloat16", "kahan"), 1.125, -2.0**-20).split(" --steps")[0]
    'halfulp walk --weight 1.125 --gradient -9.536743e-07'
    """
    target, strategy = walk_of(way)
    one, other = _operands(way, weight, update)
    if strategy in ("nearest", "master"):
        return f"halfulp add {one} {other} --in {state_format(target, strategy)}"
    (weight_text, _), (update_text, held) = one.split(":"), other.split(":")
    return (
        f"halfulp walk --weight {weight_text} --gradient {update_text} --steps {STEPS} "
        f"--format {target} --gradient-format {held}"
    )


def _operands(way: Way, weight: float, update: float) -> tuple[str, str]:
    """Both numbers in formats that hold them, in the fewest digits that name them there."""
    target, strategy = walk_of(way)
    return _named(weight, state_format(target, strategy)), _named(update, format("float32"))


def _named(value: float, held: Format) -> str:
    """A number in a format; in float64, where it is none of that.

    >>> _named(0.10009765625, format("bfloat16")), _named(0.1, format("float32"))
    ('0.1:bfloat16', '0.1:float64')
    """
    exact, cast = Fraction(value), cast_to(held)
    for digits in range(1, 18):
        text = f"{value:.{digits}g}"
        if cast.number(number(text)).value == exact:
            return f"{text}:{held}"
    return f"{value!r}:float64"
