"""A training in formats that torch or the machine lacks: what operators read and write is rounded.

A dispatch mode sees every operator below autograd, forward and backward, of any model, fused and
custom ones and recomputed ones too. All tensors are float32 and hold numbers of the recipe's
formats: an elementwise operator computes in float32 and its result is rounded once, which is what
torch's own kernels for float16 and bfloat16 do.

Gradients are told from other tensors by a mark. The loss's own bear one; where they enter the model
they get another; and what is computed with something marked is marked in turn. So the loss stays
float32, and what is recomputed in the middle of the backward pass is rounded as forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from halfulp.catalogue import format
from halfulp.conversion import cast
from halfulp.errors import HalfulpError
from halfulp.training.arguments import cast_strided, constant, is_in_format, is_rounded, numbered
from halfulp.training.composites import Composites
from halfulp.training.operands import Operands
from halfulp.training.operators import ACCUMULATED, Plan, plan_of
from halfulp.training.products import accumulated, convolved, convolved_back
from halfulp.training.recipes import FLOAT32, Recipe

# What a tensor is marked as in the backward pass: a gradient of the model's, of a part of it that
# stays float32, or of the loss, which is outside.
GRADIENT, KEPT, LOSS = "gradient", "kept", "loss"
_MARK = "_halfulp_mark"


class Emulation(TorchDispatchMode):
    """Rounds what operators read and write, as a recipe says."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.recipe = recipe
        self.operands = Operands(recipe)
        # Whether weights that are only moved about are numbers of the activations too.
        self._moves = format(recipe.activations).holds(format(recipe.weights))
        self.kept = 0  # how many modules that stay float32 the forward pass is in
        self.backward = False
        self.where = LOSS  # the mark of where the backward pass is
        self.optimizer = False
        self.gathers = False  # whether weights are there for a moment only, put together of shards
        self._products = 0  # of this pass, by which their scales are remembered

    # What a pass is.

    @contextmanager
    def forward_pass(self) -> Iterator[None]:
        """While the model runs."""
        self._products = 0
        with Composites(self), self:
            yield

    @contextmanager
    def backward_pass(self) -> Iterator[None]:
        """While gradients are computed."""
        self.backward, self.where, self._products = True, LOSS, 0
        try:
            with Composites(self), self:
                yield
        finally:
            self.backward = False

    @contextmanager
    def optimizer_step(self) -> Iterator[None]:
        """While an optimizer computes in the weights' format; its counters are left alone."""
        self.optimizer = True
        try:
            with self:
                yield
        finally:
            self.optimizer = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operator."""
        if any(hasattr(kind, "to_local") for kind in types):
            return NotImplemented  # a DTensor's operator consists of those on its parts
        plan, kwargs = plan_of(func), kwargs or {}
        mark = self._mark(args) if self.backward else None
        if not plan.is_rounded or plan.is_view or self._is_plain(mark):
            return _marked(func(*args, **kwargs), mark)
        if plan.is_layer:
            raise HalfulpError(
                f"recipe {self.recipe.name}: {plan.name} is a whole layer in one operator, which "
                "cannot be emulated: call the layer's module, or keep it in float32"
            )
        if plan.operands and not self.optimizer:
            return self._product(plan, func, args, kwargs, mark)
        target = self._target(mark, self.recipe.activations)
        args, kwargs = numbered(plan, args, kwargs, target)
        made = func(*args, **kwargs)
        if not (plan.exact and self._moves and is_in_format(plan, args, target)):
            made = self._rounded(plan, made, args, kwargs, target)
        return _marked(made, mark)

    def _mark(self, args: Any) -> str | None:
        """The mark of what an operator makes; where it is of one, the backward pass now is."""
        mark = _mark_of(args)
        self.where = mark or self.where
        return LOSS if self.where == LOSS else mark

    def _is_plain(self, mark: str | None) -> bool:
        """Whether an operator is of what stays float32."""
        if not self.backward or (mark is None and self.where != LOSS and torch.is_grad_enabled()):
            return self.kept > 0  # forward, also where it is done again in the backward pass
        return (mark or self.where) != GRADIENT  # without a mark it is part of what is around it

    def _target(self, mark: str | None, forward: str) -> str:
        if self.optimizer:
            return self.recipe.optimizer
        return forward if mark is None else self.recipe.gradients

    def _product(self, plan: Plan, func: Any, args: Any, kwargs: Any, mark: str | None) -> Any:
        is_again = self.backward and mark is None
        self._products += not is_again  # with a product done again nothing is counted twice

        def read(at: int, axis: int, groups: int = 1, part: int = 0) -> Tensor:
            x: Tensor = args[at]
            reads = self.operands.backward if _has_mark(x) else self.operands.forward
            if self.gathers and x.untyped_storage().resizable():
                x = x.clone()  # memory that NumPy has seen can no longer be given back
            if reads is None or not is_rounded(x):
                return x
            place = None if is_again else (mark, self._products, at, part)
            if groups == 1:
                return reads(x, axis, place)
            # Blocks lie within a group, as its sums do.
            parts = x.reshape(*x.shape[:axis], groups, -1, *x.shape[axis + 1 :])
            return reads(parts, axis + 1, place).flatten(axis, axis + 1)

        if not self.recipe.accumulates_as_torch:
            made = self._accumulated(plan, [*args], kwargs, read)
        elif plan.name == "convolution":
            made = convolved(func, args, read)
        elif plan.name == "convolution_backward" and self.operands.reads_backward:
            made = convolved_back(func, args, read)
        else:
            given = [*args]
            for at, axis in plan.operands:
                given[at] = read(at, axis)
            made = func(*given, **kwargs)
        target = self._target(mark, self.recipe.outputs)
        return _marked(self._rounded(plan, made, args, kwargs, target), mark)

    def _accumulated(self, plan: Plan, given: list[Any], kwargs: Any, read: Any) -> Any:
        if plan.name not in ACCUMULATED or plan.written or plan.keywords:
            raise HalfulpError(
                f"recipe {self.recipe.name}: accumulation in {self.recipe.accumulation} is "
                f"emulated for matrix products, and the model calls {plan.name}: leave "
                "accumulation float32"
            )
        for at, axis in plan.operands:
            given[at] = read(at, axis)
        return accumulated(plan.name, given, kwargs, self.recipe)

    def _rounded(self, plan: Plan, made: Any, args: Any, kwargs: Any, target: str) -> Any:
        """What an operator made or wrote to, rounded to a format."""
        if target == FLOAT32:
            return made
        written = [args[at] for at in plan.written if at < len(args)]
        for x in tree_flatten((written, [kwargs.get(name) for name in plan.keywords]))[0]:
            counter = self.optimizer and isinstance(x, Tensor) and not x.ndim
            if is_rounded(x) and not counter:
                x.copy_(cast_strided(x, target))
        if not plan.makes:
            return constant(made, target) if plan.name == "lift_fresh" else made
        if isinstance(made, Tensor):
            return cast_strided(made, target)
        if plan.first_alone:
            first, *rest = made
            return type(made)([cast_strided(first, target), *rest])
        return tree_map(lambda x: cast_strided(x, target), made)

    # Where the recipe begins and ends to hold.

    def leaves(self, x: Tensor) -> Tensor:
        """A result of the model on its way to the loss, which is float32."""
        return _Border.apply(x, self, None, GRADIENT)  # type: ignore[no-any-return, no-untyped-call]

    def leaves_kept(self, x: Tensor) -> Tensor:
        """A result of a part that stays float32, on its way back."""
        return _Border.apply(x, self, self.recipe.activations, KEPT)  # type: ignore[no-any-return, no-untyped-call]

    def enters_kept(self, x: Tensor) -> Tensor:
        """What a part that stays float32 is given."""
        return _Border.apply(x, self, None, GRADIENT)  # type: ignore[no-any-return, no-untyped-call]


class _Border(torch.autograd.Function):
    """The identity, which rounds forward and marks the gradient that comes back through it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, emulation: Emulation, target: str | None, mark: str) -> Tensor:
        ctx.emulation, ctx.mark = emulation, mark
        return x.view_as(x) if target in (None, FLOAT32) else cast(x, target)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        emulation: Emulation = ctx.emulation
        target = emulation.recipe.gradients
        if ctx.mark == GRADIENT and target != FLOAT32:
            gradient = cast(gradient, target)
        else:
            gradient = gradient.clone()  # a mark is on a tensor, and others may hold this one
        emulation.where = ctx.mark
        return _marked(gradient, ctx.mark), None, None, None


def _has_mark(x: Any) -> bool:
    return getattr(x, _MARK, None) is not None


def _mark_of(args: Any) -> str | None:
    """GRADIENT where any argument is one, else the mark of any that has one."""
    found = None
    for x in args:
        for each in x if isinstance(x, (list, tuple)) else (x,):
            mark = getattr(each, _MARK, None)
            if mark == GRADIENT:
                return GRADIENT
            found = found or mark
    return found


def _marked(made: Any, mark: str | None) -> Any:
    if mark is not None:
        for x in (made,) if isinstance(made, Tensor) else tree_flatten(made)[0]:
            if isinstance(x, Tensor):
                setattr(x, _MARK, mark)
    return made
