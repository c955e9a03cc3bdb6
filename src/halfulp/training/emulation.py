"""A training in formats that torch or the machine lacks: what operators read and write is rounded.

A dispatch mode sees every operator below autograd, forward and backward, of any model, fused and
custom ones and recomputed ones too. All tensors are float32 and hold numbers of the recipe's
formats: an elementwise operator computes in float32 and its result is rounded once, which is what
torch's own kernels for float16 and bfloat16 do.

Gradients are told from other tensors by a mark: where a gradient enters the model from the loss it
is marked, and what is computed with something marked is marked in turn. So the loss stays float32,
and what is recomputed in the middle of the backward pass is rounded as forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from halfulp.conversion import cast
from halfulp.errors import HalfulpError
from halfulp.training.operands import Operands
from halfulp.training.operators import ACCUMULATED, Plan, plan_of
from halfulp.training.products import accumulated
from halfulp.training.recipes import FLOAT32, Recipe

# What a tensor is marked as in the backward pass: a gradient, or one of a part kept in float32.
GRADIENT, KEPT = "gradient", "kept"
_MARK = "_halfulp_mark"


class Emulation(TorchDispatchMode):
    """Rounds what operators read and write, as a recipe says."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.recipe = recipe
        self.operands = Operands(recipe)
        self.kept = 0  # how many modules that stay float32 the forward pass is in
        self.backward = False
        self.entered = False  # whether this backward pass has come to the model
        self.optimizer = False
        self._products = 0  # of this pass, by which their scales are remembered

    # What a pass is.

    @contextmanager
    def forward_pass(self) -> Iterator[None]:
        """While the model runs."""
        self._products = 0
        with self:
            yield

    @contextmanager
    def backward_pass(self) -> Iterator[None]:
        """While gradients are computed."""
        self.backward, self.entered, self._products = True, False, 0
        try:
            with self:
                yield
        finally:
            self.backward = self.entered = False

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
        plan, kwargs = plan_of(func), kwargs or {}
        if self.optimizer:
            return self._rounded(plan, func(*args, **kwargs), args, self.recipe.optimizer)
        mark = _mark_of(args) if self.backward else None
        if not plan.is_torchs or plan.is_view or mark == KEPT:
            return _marked(func(*args, **kwargs), mark)
        if (self.backward and mark is None and not self.entered) or (self.kept and mark is None):
            return func(*args, **kwargs)
        if plan.operands:
            return self._product(plan, func, args, kwargs, mark)
        target = self.recipe.activations if mark is None else self.recipe.gradients
        made = func(*args, **kwargs)
        return _marked(made if plan.exact else self._rounded(plan, made, args, target), mark)

    def _product(self, plan: Plan, func: Any, args: Any, kwargs: Any, mark: str | None) -> Any:
        self._products += 1
        given, operands = list(args), self.operands
        for at, axis in plan.operands:
            x = given[at]
            reads = operands.backward if _has_mark(x) else operands.forward
            if reads is not None and _is_rounded(x):
                given[at] = reads(x, axis, (mark, self._products, at))
        if self.recipe.accumulates_as_torch:
            made = func(*given, **kwargs)
        elif plan.name in ACCUMULATED:
            made = accumulated(plan.name, given, kwargs, self.recipe)
        else:
            raise HalfulpError(
                f"recipe {self.recipe.name}: accumulation in {self.recipe.accumulation} is "
                f"emulated for matrix products, and the model calls {plan.name}: leave "
                "accumulation float32"
            )
        target = self.recipe.outputs if mark is None else self.recipe.gradients
        return _marked(self._rounded(plan, made, args, target), mark)

    def _rounded(self, plan: Plan, made: Any, args: Any, target: str) -> Any:
        """What an operator made or wrote to, rounded to a format."""
        if target == FLOAT32:
            return made
        if plan.written:
            for at in plan.written:
                tree_map(lambda x: self._in_place(x, target), args[at] if at < len(args) else None)
            return made
        if isinstance(made, Tensor):
            return cast(made, target) if _is_rounded(made) else made
        if plan.first_alone:
            first, *rest = made
            return type(made)([cast(first, target) if _is_rounded(first) else first, *rest])
        return tree_map(lambda x: cast(x, target) if _is_rounded(x) else x, made)

    def _in_place(self, x: Any, target: str) -> None:
        counter = self.optimizer and isinstance(x, Tensor) and not x.ndim
        if _is_rounded(x) and not counter:
            x.copy_(cast(x, target))

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
        emulation.entered = True
        target = emulation.recipe.gradients
        if ctx.mark == GRADIENT and target != FLOAT32:
            gradient = cast(gradient, target)
        else:
            gradient = gradient.clone()  # a mark is on a tensor, and others may hold this one
        return _marked(gradient, ctx.mark), None, None, None


def _is_rounded(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype is torch.float32


def _has_mark(x: Any) -> bool:
    return getattr(x, _MARK, None) is not None


def _mark_of(args: Any) -> str | None:
    """GRADIENT where any argument is one, else KEPT where any is of a part that is kept."""
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


def on_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A structure of tensors with those of floats changed."""
    return tree_map(
        lambda x: change(x) if isinstance(x, Tensor) and x.is_floating_point() else x, value
    )
