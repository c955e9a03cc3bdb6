"""What a node of an autograd graph tells of itself: its operator's name, and what it keeps.

A node keeps tensors for the backward pass. To ask for one may run code of others: checkpointing
computes a whole block again. So what is kept behind hooks is not asked for.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: A word begins where a capital follows; MaxPool2D and L1Loss are what digits are for.
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\dD)(?=[A-Z])|(?<=\d)(?=[A-Z][a-z])")
_RESULT = ("result", "output", "out")
_INSIDE = re.compile(r"result\d|\w*rstd|\w*mean|\w*invstd|save_\w+|\w*log_?sumexp|total_weight")
#: What is written by the operator, or holds no numbers of the training.
_SCRATCH = re.compile(r"running_\w+|buffer|reserve\w*|workspace|noise|\w*mask|\w*bias_mask")
#: Whether a kept tensor says that hooks stand before it (from torch 2.7 on).
SAYS_HOOKS = hasattr(torch._C._autograd.SavedTensor, "unpack_hook")
_CPU_HOOK = "save_on_cpu.__init__.<locals>.unpack_from_cpu"


class Saved(NamedTuple):
    """A tensor that a node keeps."""

    name: str  # as in "self", "mat1", "result"
    tensor: Tensor
    linked: bool  # whether it says which node made it


class Kept(NamedTuple):
    """All that a node keeps and shows."""

    tensors: tuple[Saved, ...]
    hidden: bool  # whether there is more, behind hooks


def operator_name(node: Any) -> str:
    """The operator that made a node of the graph, as torch calls it; a custom one by its class.

    >>> operator_name(torch.ones(2, requires_grad=True).log_softmax(0).grad_fn)
    'log_softmax'
    """
    name = re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])
    return name if is_custom(node) else _WORD.sub("_", name).lower()


def is_custom(node: Any) -> bool:
    """Whether a node comes of an autograd function written in Python."""
    return isinstance(node, torch.autograd.function.BackwardCFunction)


def is_result(name: str) -> bool:
    """Whether a kept tensor of this name is what the operator gave."""
    return name in _RESULT


def is_inside(name: str) -> bool:
    """Whether a kept tensor of this name was made by the operator on its way."""
    return _INSIDE.fullmatch(name) is not None


def kept(node: Any) -> Kept:
    """What a node keeps, as far as asking for it runs no code of others.

    >>> tensor = torch.ones(2, requires_grad=True).exp()
    >>> [saved.name for saved in kept(tensor.grad_fn).tensors]
    ['result']
    """
    tensors: list[Saved] = []
    hidden = False
    for attribute in _raw_names(node):
        name = attribute.removeprefix("_raw_saved_")
        if not is_custom(node) and _SCRATCH.fullmatch(name):
            continue
        try:
            raw = getattr(node, attribute)
        except RuntimeError:  # freed
            continue
        raws = raw if isinstance(raw, (tuple, list)) else (raw,)
        if any(_unpack_hook(part) is not None for part in raws):
            aside = [part for part in map(_on_cpu, raws) if part is not None]
            tensors += [Saved(name, part, part.requires_grad) for part in aside]
            hidden |= len(aside) < len(raws)
        else:
            tensors += [Saved(name, part, True) for part in _unpacked(node, name)]
    return Kept(tuple(tensors), hidden)


def plain_number(node: Any, name: str) -> float | None:
    """A number that a node keeps beside its tensors, as the exponent of a power.

    >>> plain_number((torch.ones(2, requires_grad=True) ** 0.5).grad_fn, "exponent")
    0.5
    """
    if hasattr(type(node), f"_raw_saved_{name}"):
        return None  # a tensor, which may be behind hooks
    number = getattr(node, f"_saved_{name}", None)
    return float(number) if isinstance(number, (int, float)) else None


def result_dtype(node: Any) -> torch.dtype | None:
    """The dtype of what a node's operator gave, first of several.

    >>> result_dtype(torch.ones(2, requires_grad=True).half().grad_fn)
    torch.float16
    """
    metadata = getattr(node, "_input_metadata", None) or (None,)
    return getattr(metadata[0], "dtype", None)


def _raw_names(node: Any) -> list[str]:
    return [a for a in dir(type(node)) if a.startswith("_raw_saved_")]


def _unpack_hook(raw: Any) -> Any:
    return raw.unpack_hook if SAYS_HOOKS else None


def _unpacked(node: Any, name: str) -> list[Tensor]:
    attribute = "saved_tensors" if is_custom(node) else f"_saved_{name}"
    # A checkpoint enters hooks of its own before it computes again, which is refused here.
    refused = torch.autograd.graph.disable_saved_tensors_hooks("halfulp only looks")
    try:
        with nullcontext() if SAYS_HOOKS else refused:
            found = getattr(node, attribute)
    except Exception:  # freed, changed in place, or what hooks of others raise
        return []
    parts = found if isinstance(found, (tuple, list)) else (found,)
    return [part for part in parts if isinstance(part, Tensor)]


def _on_cpu(raw: Any) -> Tensor | None:
    """What torch's save_on_cpu has put aside, without bringing it back."""
    if getattr(_unpack_hook(raw), "__qualname__", "") != _CPU_HOOK:
        return None
    packed = raw.data
    tensor = packed[1] if isinstance(packed, tuple) and len(packed) == 2 else None
    return tensor if isinstance(tensor, Tensor) else None
