"""Recipes: which format each role has in training, how weights are updated, how the loss is scaled.

A recipe is a frozen record; derive your own with :func:`dataclasses.replace`, or
:meth:`Recipe.replace`, which also renames it.

Sources: Micikevicius et al., "Mixed Precision Training" (arXiv 1710.03740) §3; NVIDIA Apex (levels
O0 to O3); Zamirai et al., "Revisiting BFloat16 Training" (2010.06192) §4; Micikevicius et al., "FP8
Formats for Deep Learning" (2209.05433) §3; Rouhani et al., "Microscaling Data Formats for Deep
Learning" (2310.10537).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from halfulp.block_catalogue import BlockFormat, block_format, is_block_format
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError, listed, unknown
from halfulp.language import translate as _
from halfulp.orders import checked_block
from halfulp.records import Record
from halfulp.training.loss_scale import DYNAMIC, UNSCALED, LossScale

#: How a weight takes its update and is kept until the next one (storage.py).
UPDATES = ("nearest", "stochastic", "kahan", "split")
#: How 8-bit operands of matrix products are scaled, tensor by tensor.
SCALINGS = ("none", "current", "delayed")
FLOAT32 = "float32"


@dataclass(frozen=True)
class Recipe(Record):
    """The format of each role in training, and what becomes of updates and of the loss.

    Formats are names, of the catalogue, customs such as ``"e5m10"``, or (``inputs`` and
    ``gradient_inputs`` alone) of block formats, whose blocks lie along the sum of the product.
    Raises HalfulpError for unknown names and for combinations that cannot work.

    >>> recipe("mixed-float16").master
    'float32'
    >>> recipe("bfloat16-kahan").replace(weights="float16").name
    'bfloat16-kahan+weights=float16'
    """

    name: str
    weights: str = FLOAT32  # as the model sees them and as they are kept between steps
    master: str | None = None  # the copy that the optimizer updates, if they have one
    inputs: str = FLOAT32  # what matrix products and convolutions read, forward
    outputs: str = FLOAT32  # what they write
    activations: str = FLOAT32  # what all other operators write, forward
    gradients: str = FLOAT32  # what operators write backward, and what parameters accumulate
    gradient_inputs: str | None = None  # what products read of gradients; None: as they are
    accumulation: str = FLOAT32  # of matrix products
    accumulation_order: str = "torch"  # of their sums: torch's own, or one of halfulp.sum's
    accumulation_block: int | None = None  # terms summed exactly at a time, in blocked order
    optimizer: str = FLOAT32  # what the optimizer computes in
    optimizer_state: str = FLOAT32
    update: str = "nearest"
    reduction: str | None = None  # what gradients are added up in across ranks; None: as they are
    scale_rule: str | None = None  # of block formats; None: each format's default
    tensor_scaling: str = "none"  # of 8-bit operands: by the tensor's largest, now or lately
    autocast: str | None = None  # torch.autocast's dtype, which then chooses for each operator
    loss_scale: LossScale = UNSCALED
    keep_float32: tuple[str, ...] = ()  # modules by class or name, weights by name; with * and ?

    def __post_init__(self) -> None:
        _check(self)

    def replace(self, name: str | None = None, **changes: Any) -> Recipe:
        """The recipe with some fields changed, and a name that says which."""
        known = [f.name for f in dataclasses.fields(self)]
        if wrong := sorted(set(changes) - set(known)):
            raise unknown(_("field of a recipe"), wrong[0], known)
        said = "".join(f"+{key}={value}" for key, value in changes.items())
        return dataclasses.replace(self, name=name or self.name + said, **changes)

    @property
    def formats(self) -> dict[str, str]:
        """Every role that has a format, with its name."""
        return {role: found for role in ROLES if (found := getattr(self, role)) is not None}

    @property
    def order(self) -> str:
        """The order of the sums of matrix products where torch does not choose it."""
        chosen = self.accumulation_order
        return "sequential" if chosen == "torch" else chosen

    @property
    def accumulates_as_torch(self) -> bool:
        """Whether matrix products are left to torch, which accumulates in float32."""
        return self.accumulation == FLOAT32 and self.accumulation_order == "torch"

    @property
    def is_float32(self) -> bool:
        """Whether nothing is in any other format than float32."""
        plain = set(self.formats.values()) == {FLOAT32} and self.autocast is None
        return plain and self.accumulates_as_torch


ROLES = (
    "weights", "master", "inputs", "outputs", "activations", "gradients", "gradient_inputs",
    "accumulation", "optimizer", "optimizer_state", "reduction",
)  # fmt: skip
_BLOCK_ROLES = ("inputs", "gradient_inputs")


@lru_cache(maxsize=1024)
def role_format(name: str) -> Format | BlockFormat:
    """The format or block format of a name.

    Raises HalfulpError for an unknown one.
    """
    return block_format(name) if is_block_format(name) else format(name)


def _check(r: Recipe) -> None:
    for role, name in r.formats.items():
        found = role_format(name)
        if isinstance(found, BlockFormat) and r.scale_rule:
            block_format(name, scale_rule=r.scale_rule)
        if isinstance(found, BlockFormat) and role not in _BLOCK_ROLES:
            raise HalfulpError(
                f"recipe {r.name}: {role} is {name}, a block format: only {listed(_BLOCK_ROLES)} "
                "may be one"
            )
        if isinstance(found, Format) and not format(FLOAT32).holds(found):
            raise HalfulpError(
                f"recipe {r.name}: {role} is {name}, which float32 does not hold: training is "
                "emulated in float32"
            )
    if r.accumulates_as_torch:
        checked_block("sequential", r.accumulation_block)
    else:
        checked_block(r.order, r.accumulation_block)
    dtypes = (None, "float16", "bfloat16")
    for field, allowed in (
        ("update", UPDATES), ("tensor_scaling", SCALINGS), ("autocast", dtypes),
    ):  # fmt: skip
        if getattr(r, field) not in allowed:
            raise unknown(field, str(getattr(r, field)), [str(a) for a in allowed])
    _check_together(r)


def _check_together(r: Recipe) -> None:
    weights, master = format(r.weights), format(r.master or r.weights)
    if r.master and not master.holds(weights):
        raise HalfulpError(
            f"recipe {r.name}: its master {r.master} is narrower than its weights {r.weights}: a "
            "master is a wider copy, such as float32"
        )
    if r.master and r.update != "nearest":
        raise HalfulpError(
            f"recipe {r.name}: it has a master and the update {r.update}, which is there to do "
            "without one: take update='nearest' or master=None"
        )
    if r.update == "split" and r.weights != "bfloat16":
        raise HalfulpError(
            f"recipe {r.name}: the update split keeps 16 more bits of a bfloat16, and weights are "
            f"{r.weights}"
        )
    in_format = r.optimizer != FLOAT32
    if in_format and (r.optimizer != r.weights or r.master or r.update != "nearest"):
        raise HalfulpError(
            f"recipe {r.name}: an optimizer that computes in {r.optimizer} updates weights of "
            f"that format, rounds to nearest and has no master: take optimizer='float32'"
        )
    if in_format and r.loss_scale.is_dynamic:
        raise HalfulpError(
            f"recipe {r.name}: {r.weights} parameters and a dynamic loss scale: gradients divided "
            "by the scale in their own format would vanish again, so torch refuses it too "
            "(Attempting to unscale FP16 gradients); give a float32 master or optimizer='float32'"
        )
    if r.autocast and any(name != FLOAT32 for name in r.formats.values()):
        raise HalfulpError(
            f"recipe {r.name}: under autocast torch chooses each operator's dtype: leave all "
            "roles float32, or autocast=None"
        )


def _in(name: str, compute: str, **roles: Any) -> Recipe:
    """A recipe that computes in one format, forward and backward."""
    given = dict.fromkeys(("weights", "inputs", "outputs", "activations", "gradients"), compute)
    return Recipe(name, **(given | roles))


def _pure(name: str, compute: str) -> Recipe:
    return _in(name, compute, optimizer=compute, optimizer_state=compute)


def _narrow(name: str, inputs: str, gradient_inputs: str, **more: Any) -> Recipe:
    """Products that read few bits, in a bfloat16 training with float32 masters."""
    roles = {"inputs": inputs, "gradient_inputs": gradient_inputs, "master": FLOAT32}
    return _in(name, "bfloat16", **roles, keep_float32=NORMS, **more)


NORMS = ("*BatchNorm*",)
HALF_SCALED: dict[str, Any] = {"loss_scale": DYNAMIC, "keep_float32": NORMS}

RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe("float32"),
        Recipe("autocast-float16", autocast="float16", loss_scale=DYNAMIC),
        _in("mixed-float16", "float16", master=FLOAT32, **HALF_SCALED),
        _pure("pure-float16", "float16"),
        _in("mixed-bfloat16", "bfloat16", master=FLOAT32, keep_float32=NORMS),
        _pure("pure-bfloat16", "bfloat16"),
        _in("bfloat16-stochastic", "bfloat16", update="stochastic"),
        _in("bfloat16-kahan", "bfloat16", update="kahan"),
        _in("bfloat16-split", "bfloat16", update="split"),
        _narrow("float8-hybrid", "float8_e4m3fn", "float8_e5m2", tensor_scaling="delayed"),
        _narrow("float8-current", "float8_e4m3fn", "float8_e5m2", tensor_scaling="current"),
        _narrow("mxfp8", "mxfp8_e4m3", "mxfp8_e4m3"),
        _narrow("mxfp6", "mxfp6_e2m3", "mxfp6_e3m2"),
        _narrow("mxfp4", "mxfp4", "mxfp4"),
        _narrow("nvfp4", "nvfp4", "nvfp4"),
    )
}
#: The levels of NVIDIA Apex, by which many know them.
LEVELS = {
    "O0": "float32", "O1": "autocast-float16", "O2": "mixed-float16", "O3": "pure-float16",
}  # fmt: skip


def recipe(name: str | Recipe) -> Recipe:
    """A recipe by its name, or by Apex's level (``"O2"``).

    Raises HalfulpError for an unknown one, naming those nearest.
    """
    if isinstance(name, Recipe):
        return name
    name = LEVELS.get(name, name)
    if name not in RECIPES:
        raise unknown(_("recipe"), str(name), RECIPES)
    return RECIPES[name]
