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
    "_addmm_activation": ((1, -1), (2, -2)),
    "bmm": ((0, -1), (1, -2)),
    "baddbmm": ((1, -1), (2, -2)),
    "addbmm": ((1, -1), (2, -2)),
    "mv": ((0, -1), (1, 0)),
    "addmv": ((1, -1), (2, 0)),
    "dot": ((0, 0), (1, 0)),
    "linear": ((0, -1), (1, -1)),
    # Whose axes depend on how it is called: products.py.
    "convolution": ((0, 1), (1, 1)),
    "convolution_backward": ((0, 1), (1, 1), (2, 0)),
    # Of fused attention the inputs are read narrow; what it computes between stays inside.
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

#: No other numbers than were there before, as long as the numbers that they are given are of the
#: format: float arguments are looked at, and so are constants (tensors without dimensions).
EXACT = frozenset(
    """
    abs abs_ adaptive_max_pool2d adaptive_max_pool3d alias amax amin aminmax argmax argmin
    as_strided bernoulli bernoulli_ cat clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clone
    constant_pad_nd copy copy_ cummax cummin detach detach_ diagonal diagonal_backward
    diagonal_scatter embedding empty empty_like expand fill fill_ flip fmax fmin full full_like
    gather hardtanh hardtanh_ index index_copy index_fill index_fill_ index_select kthvalue lift
    masked_fill masked_fill_ masked_scatter masked_select max max_pool2d_with_indices
    max_pool3d_with_indices maximum median min minimum mode neg neg_ new_empty new_full new_ones
    new_zeros ones ones_like permute reflection_pad1d reflection_pad2d reflection_pad3d relu relu_
    repeat replication_pad1d replication_pad2d replication_pad3d reshape roll rot90 scatter select
    select_backward select_scatter sgn sign slice slice_backward slice_scatter sort split
    split_with_sizes squeeze stack t take threshold threshold_ threshold_backward topk transpose
    tril triu unbind unfold unsafe_split unsafe_split_with_sizes unsqueeze view where zero_ zeros
    zeros_like _adaptive_max_pool2d _unsafe_index _unsafe_view _reshape_alias
    """.split()
)
#: Overloads of exact operators that compute after all.
COMPUTED = frozenset(("scatter.reduce", "scatter.value_reduce"))
#: Those of them whose arguments of integers become numbers of the result: no indices.
MIXING = frozenset("cat clamp copy copy_ masked_fill maximum minimum stack where".split())
#: Of several results only the first is an activation; the others are statistics kept in float32.
FIRST_ALONE = frozenset(
    """
    native_layer_norm native_batch_norm native_group_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training cudnn_batch_norm _batch_norm_with_update
    _batch_norm_no_update _fused_rms_norm nll_loss_forward nll_loss2d_forward
    """.split()
) | {name for name in PRODUCTS if "attention" in name and "backward" not in name}


#: Operators whose numbers are rounded before they compute: comparisons, and of sums the CPU's.
COMPARISONS = frozenset("eq ne lt le gt ge".split())
SUMS = frozenset("add sub rsub index_add _foreach_add _foreach_sub".split())
#: What is written to although schemas do not say so.
WRITTEN_UNSAID = {"native_batch_norm": (3, 4), "cudnn_batch_norm": (3, 4)}
#: A whole layer in one operator, which formats between its parts cannot be emulated in.
WHOLE_LAYERS = frozenset(
    """
    mkldnn_rnn_layer _cudnn_rnn miopen_rnn _transformer_encoder_layer_fwd
    _native_multi_head_attention
    """.split()
)
#: Libraries whose operators move numbers from rank to rank or round themselves.
LEFT_ALONE = frozenset(
    "halfulp c10d _c10d_functional c10d_functional fsdp symm_mem _dtensor".split()
)


class Plan(NamedTuple):
    """What is to be rounded around one overload of an operator."""

    name: str  # without its overload
    exact: bool
    mixing: bool
    operands: Operands  # empty where it is no product
    written: tuple[int, ...]  # positions of the arguments it writes to
    keywords: tuple[str, ...]  # and names of those that have no position
    numbers: tuple[int, ...]  # positions of arguments that are numbers, no tensors
    makes: bool  # has results that are no arguments
    first_alone: bool
    is_view: bool
    is_rounded: bool  # not of a library that is left alone
    is_layer: bool


@cache
def plan_of(operator: Any) -> Plan:
    """The plan of an overload, from the tables above and its schema."""
    name, schema = operator._schema.name.partition("::")[2], operator._schema
    placed = [argument for argument in schema.arguments if not argument.kwarg_only]
    written = tuple(i for i, argument in enumerate(placed) if _is_written(argument))
    keywords = tuple(a.name for a in schema.arguments if a.kwarg_only and _is_written(a))
    makes = any(result.alias_info is None for result in schema.returns)
    in_place = bool(written or keywords)
    plain = name.removesuffix("_") if written else name
    return Plan(
        name=plain,
        exact=name in EXACT and f"{plain}.{schema.overload_name}" not in COMPUTED,
        mixing=name in MIXING,
        operands=PRODUCTS.get(plain, ()),
        written=written + WRITTEN_UNSAID.get(name, ()),
        keywords=keywords,
        numbers=tuple(i for i, argument in enumerate(placed) if _is_number(argument)),
        makes=makes,
        first_alone=name in FIRST_ALONE,
        is_view=not makes and bool(schema.returns) and not in_place and name != "lift_fresh",
        is_rounded=operator.namespace not in LEFT_ALONE,
        is_layer=name in WHOLE_LAYERS,
    )


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _is_number(argument: Any) -> bool:
    return str(argument.type) in ("number", "float", "Optional[number]", "Optional[float]")
