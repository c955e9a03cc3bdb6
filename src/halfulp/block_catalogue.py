"""L1: block formats, whose elements share a scale: MXFP8, MXFP6, MXFP4, MXINT8, NVFP4, your own.

Sources: OCP Microscaling Formats (MX) Specification v1.0 §5 and §6.3 (formats, conversion with the
rule here called floor); torchao's ScaleCalculationMode (the names floor, ceil, rceil, even);
NVIDIA, "Pretraining Large Language Models with NVFP4" (2025), appendix on quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from halfulp.catalogue import Format, NanStyle, binade, format, power_of_two
from halfulp.errors import HalfulpError, listed, unknown
from halfulp.language import translate as _
from halfulp.records import Record

#: How the scale of a block is chosen from its largest magnitude.
SCALE_RULES = {
    "floor": "the binade of amax, over that of the largest element: OCP's; amax may saturate",
    "ceil": "the binade of amax, the next one unless amax is a power of two",
    "rceil": "the least power of two with which amax does not exceed the largest element",
    "even": "the binade of amax once it is rounded to the element's precision",
    "nearest": "amax over the largest element, rounded to nearest: for scales with fractions",
}

#: MXINT8's element: k / 64 for k of -127 to 127, as sign and magnitude.
INT8 = Format(
    "e1m6b1f_nonegzero", 1, 6, bias=1, infinities=False, nan=NanStyle.NONE, signed_zero=False
)


@dataclass(frozen=True)
class BlockFormat(Record):
    """Elements that share a scale, in blocks along one axis.

    >>> block_format("mxfp4").bits_per_element
    4.25
    """

    renderer = "halfulp.explanations.formats_text:block_page"

    name: str
    element: Format
    size: int  # elements of a block; the last of a row may have fewer
    scale: Format
    scale_rule: str
    axis: int = -1
    tensor_scale: bool = False  # whether one float32 scales all blocks besides

    def __post_init__(self) -> None:
        _check(self)

    def __str__(self) -> str:
        return self.name

    def as_field(self) -> str:
        """In another record a block format is its name."""
        return self.name

    @property
    def has_power_scale(self) -> bool:
        """Whether scales are powers of two."""
        return self.scale.fraction_bits == 0

    @property
    def bits_per_element(self) -> float:
        """Memory for each element, its share of the scale included."""
        return self.element.width + self.scale.width / self.size

    @property
    def rule_carry(self) -> int:
        """What is added to a float64 pattern of amax before its exponent is read as the scale's.

        The four rules for powers of two differ in nothing else: in the fraction that amax must have
        to reach the next binade.
        """
        fraction = self.element.max / power_of_two(self.element_binade) - 1
        return {
            "floor": 0,
            "ceil": (1 << 52) - 1,
            "rceil": (1 << 52) - 1 - int(fraction * 2**52),
            "even": 1 << (51 - self.element.fraction_bits),
        }[self.scale_rule]

    @property
    def element_binade(self) -> int:
        """log2 of the binade of the largest element."""
        return binade(self.element.max)


def _check(f: BlockFormat) -> None:
    if isinstance(f.size, bool) or not isinstance(f.size, int) or not 1 <= f.size <= 1 << 20:
        raise HalfulpError(
            _("blocks of {size!r} elements were asked for: allowed are 1 to {most}").format(
                size=f.size, most=1 << 20
            )
        )
    if isinstance(f.axis, bool) or not isinstance(f.axis, int):
        raise HalfulpError(_("axis is {axis!r}: give an integer, such as -1").format(axis=f.axis))
    if f.scale_rule not in SCALE_RULES:
        raise unknown(_("scale rule"), str(f.scale_rule), SCALE_RULES)
    if f.element.width > 8:
        raise HalfulpError(
            _("elements of blocks have up to 8 bits: {element} has {width}").format(
                element=f.element, width=f.element.width
            )
        )
    if f.scale.width > 16 or not f.scale.has_nan:
        raise HalfulpError(
            _("{scale} is no format for scales: they have up to 16 bits and a NaN").format(
                scale=f.scale
            )
        )
    if not f.element.signed:
        raise HalfulpError(
            _("{element} is unsigned: elements of blocks need a sign").format(element=f.element)
        )
    if (f.scale_rule == "nearest") == f.has_power_scale:
        powers = listed(("floor", "ceil", "rceil", "even") if f.has_power_scale else ("nearest",))
        raise HalfulpError(
            _("scales in {scale} take the rule {powers}, not {scale_rule!r}").format(
                scale=f.scale, powers=powers, scale_rule=f.scale_rule
            )
        )


def _mx(name: str, element: str | Format) -> BlockFormat:
    return BlockFormat(name, format(element), 32, format("float8_e8m0fnu"), "floor")


BLOCK_FORMATS: tuple[BlockFormat, ...] = (
    _mx("mxfp8_e4m3", "float8_e4m3fn"),
    _mx("mxfp8_e5m2", "float8_e5m2"),
    _mx("mxfp6_e2m3", "float6_e2m3fn"),
    _mx("mxfp6_e3m2", "float6_e3m2fn"),
    _mx("mxfp4", "float4_e2m1fn"),
    _mx("mxint8", INT8),
    BlockFormat("nvfp4", format("float4_e2m1fn"), 16, format("float8_e4m3fn"), "nearest",
                tensor_scale=True),
)  # fmt: skip

BLOCK_ALIASES = {"mxfp8": "mxfp8_e4m3", "mxfp6": "mxfp6_e2m3", "mxfp4_e2m1": "mxfp4"}
_BY_NAME = {f.name: f for f in BLOCK_FORMATS}


def is_block_format(target: Any) -> TypeGuard[str | BlockFormat]:
    """Whether what was asked for is a block format, or the name of one.

    >>> is_block_format("nvfp4"), is_block_format("float16")
    (True, False)
    """
    if isinstance(target, str):
        name = target.strip().lower()
        return name in _BY_NAME or name in BLOCK_ALIASES
    return isinstance(target, BlockFormat)


def block_formats() -> tuple[BlockFormat, ...]:
    """The block formats with a name.

    >>> [f.name for f in block_formats()][-1]
    'nvfp4'
    """
    return BLOCK_FORMATS


def block_format(
    name: str | BlockFormat | None = None,
    *,
    element: str | Format | None = None,
    size: int | None = None,
    scale: str | Format | None = None,
    scale_rule: str | None = None,
    axis: int | None = None,
    tensor_scale: bool | None = None,
) -> BlockFormat:
    """A block format by its name, with changes; or, without a name, one of your own.

    Your own needs an ``element`` format of up to 8 bits; by default it has blocks of 32 along the
    last axis, scales in ``float8_e8m0fnu`` and the rule ``floor`` (``nearest`` where scales have
    fractions).

    Raises HalfulpError for unknown names and for parts that do not fit.

    >>> block_format("mxfp8", axis=0, scale_rule="rceil").name
    'mxfp8_e4m3_rceil_axis0'
    >>> block_format(element="e3m2f", size=16).name
    'block_e3m2f_16_float8_e8m0fnu_floor'
    """
    changes: dict[str, Any] = {
        "element": None if element is None else format(element), "size": size,
        "scale": None if scale is None else format(scale), "scale_rule": scale_rule,
        "axis": axis, "tensor_scale": tensor_scale,
    }  # fmt: skip
    changes = {part: value for part, value in changes.items() if value is not None}
    if name is None:
        return _own(changes)
    found = name if isinstance(name, BlockFormat) else _lookup(name)
    changes = {part: value for part, value in changes.items() if value != getattr(found, part)}
    return replace(found, name=_name(found, changes), **changes) if changes else found


def _lookup(name: str) -> BlockFormat:
    key = str(name).strip().lower()
    key = BLOCK_ALIASES.get(key, key)
    if key not in _BY_NAME:
        raise unknown(_("block format"), str(name), [*_BY_NAME, *BLOCK_ALIASES])
    return _BY_NAME[key]


def _own(parts: dict[str, Any]) -> BlockFormat:
    if "element" not in parts:
        raise HalfulpError(_("a block format of your own needs element=, such as 'float4_e2m1fn'"))
    made: dict[str, Any] = {"size": 32, "scale": format("float8_e8m0fnu"), **parts}
    made.setdefault("scale_rule", "nearest" if made["scale"].fraction_bits else "floor")
    names = [made["element"], made["size"], made["scale"], made["scale_rule"]]
    name = "_".join(["block", *map(str, names)])
    rest: dict[str, Any] = {p: made[p] for p in ("axis", "tensor_scale") if p in made}
    own = BlockFormat(name, made["element"], made["size"], made["scale"], made["scale_rule"])
    return replace(own, name=_name(own, rest), **rest) if rest else own


def _name(found: BlockFormat, changes: dict[str, Any]) -> str:
    words = [found.name]
    for part, value in changes.items():
        words.append({
            "axis": f"axis{value}", "size": f"size{value}", "scale": f"scale_{value}",
            "element": f"of_{value}", "tensor_scale": "tensor" if value else "notensor",
        }.get(part, str(value)))  # fmt: skip
    return "_".join(words)
