"""Where a recipe begins and ends to hold: around the model, and around what it keeps in float32.

Inputs are cast as they enter the model and outputs as they leave it, so that the loss is computed
in float32, as Apex's level O2 does; a part that stays float32 gets float32 and gives back what the
recipe computes in.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten

from halfulp.conversion import cast
from halfulp.errors import HalfulpError
from halfulp.training.composites import on_tensors
from halfulp.training.emulation import Emulation
from halfulp.training.recipes import FLOAT32, Recipe


class Borders:
    """The hooks of one prepared model."""

    def __init__(
        self, model: Module, by: Recipe, emulation: Emulation | None, dtype: torch.dtype,
        kept: list[tuple[str, Module]],
    ) -> None:  # fmt: skip
        self.recipe, self.emulation, self.dtype = by, emulation, dtype
        self.device = next(model.parameters()).device.type
        self._open: list[ExitStack] = []
        self._inputs: Any = ()
        model.register_forward_pre_hook(self._enter, with_kwargs=True, prepend=True)
        model.register_forward_hook(self._leave, with_kwargs=True, always_call=True)
        for _, module in kept if not by.is_float32 else ():
            module.register_forward_pre_hook(self._enter_kept, with_kwargs=True)
            module.register_forward_hook(self._leave_kept, with_kwargs=True, always_call=True)

    def _enter(self, module: Module, args: Any, kwargs: Any) -> Any:
        passing, self._inputs = ExitStack(), (args, kwargs)
        self._open.append(passing)
        if self.recipe.autocast:
            dtype = getattr(torch, self.recipe.autocast)
            passing.enter_context(torch.autocast(self.device, dtype))
        if not self.recipe.accumulates_as_torch:  # fused attention shows no matrix products
            passing.enter_context(sdpa_kernel(SDPBackend.MATH))
        given = on_tensors(self._cast_input, (args, kwargs))
        if self.emulation is not None:
            passing.enter_context(self.emulation.forward_pass())
        return given

    def _leave(self, module: Module, args: Any, kwargs: Any, output: Any) -> Any:
        self._open.pop().close()
        return on_tensors(self._cast_output, output)

    def check_inputs(self) -> None:
        """What the model was given last is free of NaN, or no recipe can learn from it.

        Raises HalfulpError where it is not.
        """
        for x in tree_flatten(self._inputs)[0]:
            if isinstance(x, Tensor) and x.is_floating_point() and bool(x.isnan().any()):
                count = int(x.isnan().sum())
                raise HalfulpError(
                    f"the loss is NaN, and so are {count} of the {x.numel()} numbers of the "
                    "model's input: leave this batch out; weights are as the last step left them"
                )

    def _cast_input(self, x: Tensor) -> Tensor:
        if self.emulation is None or x.dtype is not torch.float32:
            return x.to(self.dtype)
        target = self.recipe.activations
        return x if target == FLOAT32 else cast(x, target, grad="straight_through")

    def _cast_output(self, x: Tensor) -> Tensor:
        return x.float() if self.emulation is None else self.emulation.leaves(x)

    def _enter_kept(self, module: Module, args: Any, kwargs: Any) -> Any:
        if self.emulation is None:
            return on_tensors(Tensor.float, (args, kwargs))
        self.emulation.kept += 1
        return on_tensors(self.emulation.enters_kept, (args, kwargs))

    def _leave_kept(self, module: Module, args: Any, kwargs: Any, output: Any) -> Any:
        if self.emulation is None:
            return on_tensors(lambda x: x.to(self.dtype), output)
        self.emulation.kept -= 1
        return on_tensors(self.emulation.leaves_kept, output)
