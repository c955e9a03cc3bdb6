"""What torch's operators do to numbers, as far as emulation must know: one line an operator.

Products read narrow operands and add up many terms; exact operators move numbers about and make no
new ones; all others compute in float32 and round their result once, as torch's own half-precision
kernels do. What an operator writes to is read off its schema.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

# (operand, axis along which its products are summed): blocks that share a scale lie along it.
Operands = tuple[tuple[int, int], ...]

PRODUCTS: dict[str, Operands] = {
    "mm": ((0, -1), (1, -2)),
    "addmm": ((1, -1), (2, -2)),
    "bmm": ((0, -1), (1, -2)),
    "baddbmm": ((1, -1), (2, -2)),
    "mv": ((0, -1), (1, 0)),
    "addmv": ((1, -1), (2, 0)),
    "dot": ((0, 0), (1, 0)),
    "linear": ((0, -1), (1, -1)),
    "convolution": ((0, 1), (1, 1)),
    # One operator computes two products, and reads each operand once.
    "convolution_backward": ((0, 1), (1, 1), (2, 0)),
    "_scaled_dot_product_flash_attention_for_cpu": ((0, -1), (1, -1), (2, -2)),
    "_scaled_dot_product_flash_attention_for_cpu_backward": ((0, -1), (1, -1), (2, -1), (3, -2)),
    "_scaled_dot_product_flash_attention": ((0, -1), (1, -1), (2, -2)),
    "_scaled_dot_product_flash_attention_backward": ((0, -1), (1, -1), (2, -1), (3, -2)),
    "_scaled_dot_product_efficient_attention": ((0, -1), (1, -1), (2, -2)),
    "_scaled_dot_product_efficient_attention_backward": ((0, -1), (1, -1), (2, -1), (3, -2)),
    "_scaled_dot_product_cudnn_attention": ((0, -1), (1, -1), (2, -2)),
    "_scaled_dot_product_cudnn_attention_backward": ((0, -1), (1, -1), (2, -1), (3, -2)),
}
#: Products whose accumulation can be narrower than float32, or in an order of ours.
ACCUMULATED = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "linear")

EXACT = frozenset(
    """
    abs abs_ alias amax amin argmax argmin as_strided bernoulli bernoulli_ cat clone constant_pad_nd
    copy copy_ detach detach_ diagonal diagonal_backward embedding empty_like expand flip
    gather index index_select lift lift_fresh max
    max_pool2d_with_indices maximum min minimum neg neg_ new_empty new_ones new_zeros
    ones_like permute relu relu_ repeat reshape roll scatter select select_backward sign slice
    slice_backward sort split split_with_sizes squeeze stack t threshold_backward topk transpose
    tril triu unbind unfold unsafe_split unsqueeze view where zero_ zeros_like _unsafe_view
    _reshape_alias
    """.split()
)
#: Of several results only the first is an activation; the others are statistics kept in float32.
FIRST_ALONE = frozenset(
    """
    native_layer_norm native_batch_norm native_group_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training cudnn_batch_norm _batch_norm_with_update
    _batch_norm_no_update _fused_rms_norm nll_loss_forward nll_loss2d_forward
    """.split()
) | {name for name in PRODUCTS if "attention" in name and "backward" not in name}


class Plan(NamedTuple):
    """What is to be rounded around one overload of an operator."""

    name: str  # without its overload
    exact: bool
    operands: Operands  # empty where it is no product
    written: tuple[int, ...]  # positions of the arguments it writes to
    aliases: bool  # its results share memory with arguments
    first_alone: bool
    is_view: bool
    is_torchs: bool  # of ATen: not a collective of torch.distributed, nor anybody's own


@cache
def plan_of(operator: Any) -> Plan:
    """The plan of an overload, from the tables above and its schema."""
    name, schema = operator._schema.name.partition("::")[2], operator._schema
    infos = [argument.alias_info for argument in schema.arguments]
    written = tuple(i for i, info in enumerate(infos) if info is not None and info.is_write)
    aliases = any(result.alias_info is not None for result in schema.returns)
    plain = name.removesuffix("_") if written else name
    return Plan(
        name=plain,
        exact=name in EXACT or (aliases and not written),
        operands=PRODUCTS.get(plain, ()),
        written=written,
        aliases=aliases,
        first_alone=name in FIRST_ALONE,
        is_view=aliases and not written,
        is_torchs=operator.namespace == "aten",
    )
