"""The article's story, told with this project's own results: sections for a terminal and a page.

It follows an article on converting between float16 and float32 and on why mixed-precision training
keeps float32 master weights; each number is computed here and now.
"""

from __future__ import annotations

from collections.abc import Iterator

from halfulp.explanations.conversion import explain
from halfulp.explanations.operation import explain_operation
from halfulp.language import translate as _
from halfulp.report.document import Section
from halfulp.report.record import section
from halfulp.training.comparison import Comparison
from halfulp.training.comparison_text import share_text
from halfulp.training.running import RecipeResult
from halfulp.updates import walk_all

# What the story trains under: the formats of the article, and the two cures without a master.
TRAINED = (
    "float32", "pure-float16", "mixed-float16", "pure-bfloat16", "mixed-bfloat16",
    "bfloat16-stochastic", "bfloat16-kahan",
)  # fmt: skip
NUMBER, WEIGHT, ADDEND, GRADIENT = "1.12156456132", "1.125", "0.12457275190625", "0.00041999"


def introduction() -> Section:
    """What all of it is about."""
    prose = _(
        "halfulp shows what low precision does to numbers and to training. A format such as "
        "float16 has gaps between its numbers: the gap from a number to the next one is its ulp. A "
        "sum is rounded to one of the two numbers around it, so an update of less than half an ulp "
        "leaves a weight where it is. Below, kept bits are those the format has room for; guard, "
        "round and sticky say what the dropped ones begin with, and whether anything follows."
    )
    return Section("", prose)


def numbers() -> Iterator[Section]:
    """The story up to the training: conversion, addition, the update that is lost."""
    yield section(
        explain(NUMBER, via=["float32", "float16"]),
        _("A number becomes float32, then float16"),
        _(
            "A format keeps as many bits as it has and drops the rest. What is dropped is compared "
            "with half an ulp, half the gap to the next number: less goes down, more goes up."
        ),
    )
    yield section(
        explain("1.12548828125", to="float16"),
        _("A tie is not “1 rounds up”"),
        _(
            "Rounding by the next bit alone would take 1.125 + 2^-11 up. It is exactly half way, "
            "and every framework rounds a tie in float16 to the even neighbour."
        ),
    )
    yield section(
        explain_operation("add", f"{WEIGHT}:float16", f"{ADDEND}:float16"),
        _("Adding in float16"),
        _(
            "Before two numbers are added, the smaller is shifted right until the exponents are "
            "equal. Four of its bits no longer fit."
        ),
    )
    yield section(
        explain_operation("add", f"{WEIGHT}:float32", f"{ADDEND}:float16"),
        _("Adding the same float16 gradient to a float32 weight"),
        _("The sum is formed in float32, and every bit of the gradient arrives."),
    )
    yield section(
        walk_all(WEIGHT, GRADIENT, 100, "float16"),
        _("A hundred updates: the float16 weight never moves"),
        _(
            "The gradient is less than half an ulp of the weight, so each sum rounds back to the "
            "weight it came from. More steps do not help: it has stalled. A float32 master copy "
            "takes every update; here even exactly, so that its whole error comes from having cast "
            "the gradient. Kahan's compensation arrives without a master copy, and stochastic "
            "rounding does so on average."
        ),
    )


def training(comparison: Comparison) -> Section:
    """The training: the same loss of updates in a real network, and its cure."""
    by_name = {r.name: r for r in comparison.recipes}
    return section(
        comparison, _("The same in a real network: 1,797 handwritten digits"), _findings(by_name)
    )


def _findings(by_name: dict[str, RecipeResult]) -> str:
    reference = by_name["float32"]
    told = [
        _(
            "A net of 64-128-10 is trained by plain SGD at a learning rate of 0.001, 64 images a "
            "step, and tested on the fifth of the images that it never saw. So small a rate learns "
            "slowly, and shows plainly whose updates arrive."
        )
    ]
    for kind in ("float16", "bfloat16"):
        pure, mixed = by_name[f"pure-{kind}"], by_name[f"mixed-{kind}"]
        text = _(
            "Pure {format} lost {share} of its nonzero updates ({lost} of {updates}) and reached "
            "{pure}; with a float32 master copy {format} reached {mixed}, where float32 reached "
            "{reference}."
        )
        told.append(text.format(
            format=kind, share=share_text(pure.lost, pure.updates), lost=pure.lost,
            updates=pure.updates, pure=_percent(pure), mixed=_percent(mixed),
            reference=_percent(reference),
        ))  # fmt: skip
    told.append(_(
        "The updates are lost in the addition: the mixed recipes compute in the same "
        "16 bits, and differ in where the update is added."
    ))  # fmt: skip
    chance, kahan = by_name["bfloat16-stochastic"], by_name["bfloat16-kahan"]
    text = _(
        "No master copy is needed where the addition loses nothing for good: bfloat16 rounded up "
        "by chance reached {chance}, and with Kahan's compensation {kahan}."
    )
    told.append(text.format(chance=_percent(chance), kahan=_percent(kahan)))
    return "\n\n".join(told)


def _percent(r: RecipeResult) -> str:
    return _("{share:.1f} % accuracy").format(share=100 * (r.metric or 0.0))
