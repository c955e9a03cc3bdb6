"""What a model is wrapped in where it is trained on several ranks, and what cannot be prepared.

DistributedDataParallel builds the buckets that gradients are added up in when it is made, from the
dtypes that parameters then have; fully_shard puts new parameters in the place of a model's own. So
the order of wrapping and preparing matters, and is looked at here.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

import torch.distributed as dist
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel

from halfulp.errors import HalfulpError
from halfulp.training.recipes import FLOAT32, Recipe


def count() -> int:
    """How many ranks train together; 1 where torch.distributed is not in use."""
    return dist.get_world_size() if are_there() else 1


def are_there() -> bool:
    """Whether torch.distributed is in use, if only by one rank."""
    return dist.is_available() and dist.is_initialized()


def unwrapped(model: Module) -> Module:
    """The model itself, without DistributedDataParallel around it."""
    inner: Any = model
    return inner.module if is_wrapped(model) else inner  # type: ignore[no-any-return]


def is_wrapped(model: Module) -> bool:
    """Whether a model is in DistributedDataParallel."""
    return dist.is_available() and isinstance(model, DistributedDataParallel)


def sharded_modules(model: Module) -> list[Any]:
    """The modules that fully_shard was called on."""
    if "torch.distributed.fsdp" not in sys.modules:
        return []  # half a second to import, and nobody has called it
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def check_wrapping(model: Module, by: Recipe) -> None:
    """A model that is wrapped in nothing that chooses dtypes itself, or too early.

    Raises HalfulpError for anything else.
    """
    if "torch.distributed.fsdp" in sys.modules:
        _check_sharding(model)
    if is_wrapped(model):
        _check_wrapped(model, by)
    elif count() > 1:
        _check_alone(model, by)


def _check_sharding(model: Module) -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise HalfulpError(
            "the model is in FullyShardedDataParallel, whose flat parameters no longer are single "
            "weights: shard it with torch.distributed.fsdp.fully_shard"
        )
    for module in sharded_modules(model):
        policy = module._get_fsdp_state()._mp_policy
        chosen = (policy.param_dtype, policy.reduce_dtype, policy.output_dtype)
        if any(dtype is not None for dtype in chosen):
            raise HalfulpError(
                "fully_shard was given a MixedPrecisionPolicy with dtypes, which are the recipe's "
                "to choose: leave it out, and name the format of sums across ranks in the recipe's "
                "reduction"
            )


def _check_wrapped(model: Any, by: Recipe) -> None:
    if model.mixed_precision is not None:
        raise HalfulpError(
            "DistributedDataParallel was given mixed_precision, which is the recipe's to choose: "
            "leave it out"
        )
    if by.reduction and model._comm_hooks:
        raise HalfulpError(
            f"recipe {by.name}: it adds gradients up in {by.reduction}, and "
            "DistributedDataParallel has a communication hook already, of which there can be one: "
            "leave the hook out, or take reduction=None"
        )


def _check_alone(model: Module, by: Recipe) -> None:
    """A model without DistributedDataParallel around it, among several ranks."""
    if any(wrapper.module is model for wrapper in _wrappers()):
        raise HalfulpError(
            "the model is in a DistributedDataParallel already, which would not see its dtypes "
            "change: give prepare the DistributedDataParallel, or prepare first and wrap then"
        )
    if by.reduction and not sharded_modules(model):
        raise HalfulpError(
            f"recipe {by.name}: it adds gradients up across ranks in {by.reduction}, and "
            f"{type(model).__name__} adds up none: give prepare the DistributedDataParallel, or "
            "call fully_shard first"
        )


def _wrappers() -> list[Any]:
    """Every DistributedDataParallel there is: nothing in a model tells that it is in one."""
    return [x for x in gc.get_objects() if issubclass(type(x), DistributedDataParallel)]


def rebuild_buckets(model: Any) -> None:
    """Give DistributedDataParallel new buckets, for parameters whose dtypes have changed.

    Its hooks are on what accumulates gradients, and that goes with the dtype: without new ones
    gradients would not be added up at all.
    """
    hooks, model._comm_hooks = model._comm_hooks, []
    parameters, expect_sparse = model._build_params_for_reducer()
    names = model._build_debug_param_to_name_mapping(parameters)
    model._ddp_init_helper(parameters, expect_sparse, names, model.static_graph)
    if model.static_graph:
        model.reducer._set_static_graph()
        model.logger._set_static_graph()
    for hook, state in hooks:
        model.register_comm_hook(state, hook)


def check_native(model: Module, by: Recipe, emulate: bool | None) -> None:
    """Whether torch's own dtypes can be had where they were asked for.

    Raises HalfulpError for sharded weights that would have to change their dtype.
    """
    if emulate is False and by.weights != FLOAT32 and sharded_modules(model):
        raise HalfulpError(
            f"recipe {by.name}: fully_shard has laid out its weights in float32 and gathers them "
            f"so, and {by.weights} is emulated in them: take emulate=True, or None"
        )
