"""L1: named profiles: what each stack makes of overflow, infinities, NaN, zero and signs.

The rule is the same everywhere; stacks differ in the fates of what has no place in a format. A
profile lists where it differs from the default (which is NumPy's and ml_dtypes'). Each line was
checked against the program or the document it names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from halfulp.casting import OVERFLOWS, Cast, Fate, Policy, cast_to, default_policy
from halfulp.catalogue import Format, format
from halfulp.errors import unknown

_SATURATE = {"overflow": Fate.MAX, "infinite": Fate.MAX}
_BYTE_FLOATS = (
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
)  # fmt: skip
_NO_NAN = ("float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn")


class Profile(NamedTuple):
    """One stack: where it was read, and its differences by format name."""

    source: str
    differences: tuple[tuple[tuple[str, ...], dict[str, Fate]], ...] = ()

    def policy(self, target: Format) -> Policy:
        """The policy of this stack for a format; the default where it says nothing of it."""
        policy = default_policy(target)
        for names, fates in self.differences:
            if target.name in names:
                policy = replace(policy, **fates)
        return policy


_TORCH_SCALE = (("float8_e8m0fnu",), {"zero": Fate.LEAST, "negative": Fate.MAGNITUDE})

PROFILES: dict[str, Profile] = {
    "ml_dtypes": Profile("ml_dtypes 0.6 and NumPy, from float32"),
    "torch": Profile(
        "torch 2.13, Tensor.to(dtype)", ((("float8_e4m3fn",), _SATURATE), _TORCH_SCALE)
    ),
    "torch<2.13": Profile("torch 2.12 and before, Tensor.to(dtype)", (_TORCH_SCALE,)),
    "onnx": Profile("ONNX Cast, saturate=1 (operator schema 19)", ((_BYTE_FLOATS, _SATURATE),)),
    "onnx-nosaturate": Profile("ONNX Cast, saturate=0 (operator schema 19)"),
    "ocp": Profile(
        "OCP 8-bit Floating Point Specification (2023) §5.2, saturating mode",
        ((("float8_e4m3fn", "float8_e5m2"), _SATURATE),),
    ),
    "ocp-nonsaturating": Profile(
        "OCP 8-bit Floating Point Specification (2023) §5.2, non-saturating mode"
    ),
    "cuda-satfinite": Profile(
        "PTX cvt.satfinite",
        (
            (("float16", "bfloat16", *_BYTE_FLOATS), _SATURATE),
            (_NO_NAN, {"nan": Fate.POSITIVE_MAX}),
        ),
    ),
}


def profile_of(name: str) -> Profile:
    """The profile of a name.

    Raises HalfulpError for an unknown one.
    """
    if not isinstance(name, str) or name not in PROFILES:
        raise unknown("profile", str(name), PROFILES)
    return PROFILES[name]


def profiled_cast(
    target: str | Format, rounding: str, overflow: str | Policy | None, random_bits: int = 32
) -> Cast:
    """A cast whose ``overflow`` may be a policy or the name of a profile.

    >>> profiled_cast("float8_e4m3fn", "nearest_even", "torch").number(1e6).value
    Fraction(448, 1)
    """
    if overflow is None or isinstance(overflow, Policy):
        return cast_to(target, rounding, overflow, random_bits)
    if not isinstance(overflow, str) or overflow not in (*OVERFLOWS, *PROFILES):
        raise unknown("overflow or profile", str(overflow), [*OVERFLOWS, *PROFILES])
    profile = PROFILES.get(overflow)
    policy = profile.policy(format(target)) if profile else overflow
    return cast_to(target, rounding, policy, random_bits)
