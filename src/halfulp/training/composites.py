"""Functions of torch that are other operators in float32 than they are in half precision.

Operators show what a function consists of, but some consist of other operators when tensors are
float32, as all are that are emulated. Here they are made to do what they do in half precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from halfulp.training.emulation import Emulation

_variable = torch._C._VariableFunctions
_RMS_NORMS = (torch.rms_norm, torch.nn.functional.rms_norm)
# In float32 a layer of these is one operator of oneDNN or cuDNN.
_RECURRENT = frozenset((_variable.lstm, _variable.gru, _variable.rnn_tanh, _variable.rnn_relu))


class Composites(TorchFunctionMode):
    """Sees functions while an emulation sees operators.

    That it is there makes torch take layers of transformers apart, which it else runs whole.
    """

    def __init__(self, emulation: Emulation) -> None:
        super().__init__()
        self.emulation = emulation

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One function."""
        kwargs = kwargs or {}
        if func in _RMS_NORMS and not self.emulation.kept:
            return self._in_float32(func, args, kwargs)
        if func in _RECURRENT:
            off = torch.backends.mkldnn.flags(enabled=False)
            with off, torch.backends.cudnn.flags(enabled=False):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _in_float32(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A function that computes in float32 from beginning to end, and rounds what comes out."""
        emulation = self.emulation
        args, kwargs = on_tensors(emulation.enters_kept, (args, kwargs))
        emulation.kept += 1
        try:
            made = func(*args, **kwargs)
        finally:
            emulation.kept -= 1
        return emulation.leaves_kept(made)


def on_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A structure of tensors with those of floats changed."""
    return tree_map(
        lambda x: change(x) if isinstance(x, Tensor) and x.is_floating_point() else x, value
    )
