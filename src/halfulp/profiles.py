"""L1: named profiles: what each stack makes of overflow, infinities, NaN, zero and signs.

The rule is the same everywhere; stacks differ in the fates of what has no place in a format, and
where a format has no fraction bits, in ties. A profile lists the formats that a stack has, and
where it differs from the default (NumPy's and ml_dtypes' fates, ties by the parity of the code).
Each line was checked against the program or the document it names: docs/profiles.md says how.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from halfulp.casting import OVERFLOWS, Cast, Fate, Policy, cast_to, default_policy
from halfulp.catalogue import Format, format, formats
from halfulp.errors import HalfulpError, listed, unknown
from halfulp.language import N_
from halfulp.language import translate as _


class Line(NamedTuple):
    """What a stack does in some formats."""

    formats: tuple[str, ...]
    fates: dict[str, Fate]  # fields of Policy, where they differ from the default
    rounding: str = "nearest_even"  # its own, which "nearest_even" stands for under the profile
    source: str = ""  # where this was read, if not where the profile was


class Profile(NamedTuple):
    """One stack: where it was read, and what it does."""

    source: str
    lines: tuple[Line, ...]

    @property
    def formats(self) -> tuple[str, ...]:
        """The names of the formats that the stack has."""
        return tuple(name for line in self.lines for name in line.formats)

    def line(self, target: Format) -> Line | None:
        """What the stack does in a format, or None where it has no such format."""
        return next((line for line in self.lines if target.name in line.formats), None)

    def policy(self, target: Format) -> Policy:
        """The policy of this stack for a format; the default where it has no such format."""
        line = self.line(target)
        return replace(default_policy(target), **(line.fates if line else {}))

    def rounding(self, target: Format, asked: str) -> str:
        """The rounding of a cast: the stack's own, unless another than nearest_even is asked."""
        line = self.line(target)
        return line.rounding if line and asked == "nearest_even" else asked

    def source_of(self, target: Format) -> str:
        """Where it was read what the stack does in a format."""
        line = self.line(target)
        return (line and line.source) or self.source


_IEEE = ("float64", "float32", "float16", "bfloat16")
_E4M3, _E5M2, _E8M0 = ("float8_e4m3fn",), ("float8_e5m2",), ("float8_e8m0fnu",)
_FNUZ = ("float8_e4m3fnuz", "float8_e5m2fnuz")
_OTHER_BYTES = ("float8_e4m3", "float8_e4m3b11fnuz", "float8_e3m4")
_SIX, _FOUR = ("float6_e2m3fn", "float6_e3m2fn"), ("float4_e2m1fn",)

_DEFAULT: dict[str, Fate] = {}
_SATURATE = {"overflow": Fate.MAX, "infinite": Fate.MAX}
_NAN_IS_MAX = {"nan": Fate.POSITIVE_MAX}

_TORCH_SCALE = Line(_E8M0, {"zero": Fate.LEAST, "negative": Fate.MAGNITUDE}, "nearest_away")
_ONNX_SCALE = Line(
    _E8M0, {**_SATURATE, "zero": Fate.LEAST, "negative": Fate.LEAST}, "up",
    "ONNX Cast-25, round_mode=up; below zero onnxruntime 1.32",
)  # fmt: skip
_ONNX_SMALL = (
    Line(_FOUR, _NAN_IS_MAX, source="ONNX 1.23, Float stored in 4 bits"),
    Line(_SIX, _DEFAULT, source="ONNX 1.23, Float stored in 6 bits; NaN as its reference"),
)
_MX_SMALL = Line((*_SIX, *_FOUR), _DEFAULT, source="OCP MX 1.0 §6.3; inf and NaN left open")

PROFILES: dict[str, Profile] = {
    "ml_dtypes": Profile(
        "ml_dtypes 0.6",
        (
            Line((*_IEEE, *_E5M2, *_E4M3, *_FNUZ, *_OTHER_BYTES, *_SIX, *_FOUR), _DEFAULT),
            Line(_E8M0, _DEFAULT, "nearest_away"),
        ),
    ),
    "jax": Profile(
        "JAX 0.10, astype",
        (
            Line((*_IEEE, *_E5M2, *_E4M3, *_FNUZ, *_OTHER_BYTES, *_FOUR), _DEFAULT),
            Line(_E8M0, _DEFAULT, "nearest_away"),
        ),
    ),
    "torch": Profile(
        "torch 2.13, Tensor.to",
        (Line((*_IEEE, *_E5M2, *_FNUZ), _DEFAULT), Line(_E4M3, _SATURATE), _TORCH_SCALE),
    ),
    "torch<2.13": Profile(
        "torch 2.12, Tensor.to",
        (Line((*_IEEE, *_E5M2, *_FNUZ, *_E4M3), _DEFAULT), _TORCH_SCALE),
    ),
    "onnx": Profile(
        "ONNX Cast-25, saturate=1",
        (
            Line(_IEEE, _DEFAULT), Line((*_E5M2, *_E4M3, *_FNUZ), _SATURATE), _ONNX_SCALE,
            *_ONNX_SMALL,
        ),
    ),
    "onnx-nosaturate": Profile(
        "ONNX Cast-25, saturate=0",
        (Line((*_IEEE, *_E5M2, *_E4M3, *_FNUZ), _DEFAULT), *_ONNX_SMALL),
    ),
    "ocp": Profile(
        "OCP OFP8 1.0 §5.2.1, saturating", (Line((*_E5M2, *_E4M3), _SATURATE), _MX_SMALL)
    ),
    "ocp-nonsaturating": Profile(
        "OCP OFP8 1.0 §5.2.1, non-saturating", (Line((*_E5M2, *_E4M3), _DEFAULT), _MX_SMALL)
    ),
    "cuda-satfinite": Profile(
        "PTX 9 cvt.rn.satfinite",
        (
            Line(("tfloat32", "float16", "bfloat16", *_E5M2, *_E4M3), _SATURATE),
            Line((*_SIX, *_FOUR), _NAN_IS_MAX),
        ),
    ),
    "cuda-nosat": Profile(
        "CUDA 13 cuda_fp8.h, __NV_NOSAT",
        (
            Line(("float16", "bfloat16"), _DEFAULT, source="CUDA 13 cuda_fp16.h, cuda_bf16.h"),
            Line((*_E5M2, *_E4M3), _DEFAULT),
            Line((*_SIX, *_FOUR), _NAN_IS_MAX, source="CUDA 13 cuda_fp6.h, cuda_fp4.h"),
        ),
    ),
    "halfulp": Profile(
        N_("halfulp's default"), (Line(tuple(f.name for f in formats()), _DEFAULT),)
    ),
}  # fmt: skip


def profile_of(name: str) -> Profile:
    """The profile of a name.

    Raises HalfulpError for an unknown one.
    """
    if not isinstance(name, str) or name not in PROFILES:
        raise unknown(_("profile"), str(name), PROFILES)
    return PROFILES[name]


def require(name: str, target: Format) -> None:
    """Check that the stack of a profile has a format.

    Raises HalfulpError where it has not, or where the profile is unknown.
    """
    profile = profile_of(name)
    if profile.line(target) is None:
        raise HalfulpError(
            _("the profile {name!r} says nothing of {target}: give {formats}").format(
                name=name, target=target, formats=listed(profile.formats)
            )
        )


def profiled_cast(
    target: str | Format, rounding: str, overflow: str | Policy | None, random_bits: int = 32
) -> Cast:
    """A cast whose ``overflow`` may be a policy or the name of a profile.

    A profile also says how its stack rounds, which "nearest_even" stands for under it. A format
    that the stack does not have follows the default.

    >>> profiled_cast("float8_e4m3fn", "nearest_even", "torch").number(1e6).value
    Fraction(448, 1)
    >>> [int(profiled_cast("e8m0", "nearest_even", p).number(3).value) for p in (None, "torch")]
    [2, 4]
    """
    if overflow is None or isinstance(overflow, Policy):
        return cast_to(target, rounding, overflow, random_bits)
    if not isinstance(overflow, str) or overflow not in (*OVERFLOWS, *PROFILES):
        raise unknown(_("overflow or profile"), str(overflow), [*OVERFLOWS, *PROFILES])
    profile = PROFILES.get(overflow)
    if profile is None:
        return cast_to(target, rounding, overflow, random_bits)
    found = format(target)
    return cast_to(found, profile.rounding(found, rounding), profile.policy(found), random_bits)
