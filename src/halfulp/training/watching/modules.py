"""What modules return during one forward pass, and the gradients of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.utils._pytree import tree_flatten
from torch.utils.hooks import RemovableHandle

from halfulp.runs.samples import ACTIVATION, ACTIVATION_GRADIENT, Series

#: ``(series, tensor)``
See = Callable[[Series, Tensor], None]


class Eyes:
    """Hooks on modules, for the forward pass of a sampled step; gone when it ends.

    What a block computes again in the backward pass (torch.utils.checkpoint) is not seen twice.
    """

    def __init__(
        self, modules: Iterable[tuple[str, Module]], series: Callable[[str, str, Tensor], Series],
        see: See, see_gradient: See,
    ) -> None:  # fmt: skip
        self._modules, self._series = list(modules), series
        self._see, self._see_gradient = see, see_gradient
        self._handles: list[RemovableHandle] = []
        self._met: dict[int, Tensor] = {}  # alive, so that no other tensor gets their id
        self._calls: dict[str, int] = {}

    def open(self) -> None:
        """Look at every module from now on."""
        self.close()
        for name, module in self._modules:
            hook = self._hook(name)
            self._handles.append(module.register_forward_hook(hook, with_kwargs=False))

    def close(self) -> None:
        """Look no more; gradients of what was seen still come."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._met.clear()
        self._calls.clear()

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(module: Module, inputs: Any, output: Any) -> None:
            self._calls[name] = calls = self._calls.get(name, 0) + 1
            called = name if calls == 1 else f"{name}, call {calls}"
            tensors = [x for x in tree_flatten(output)[0] if isinstance(x, Tensor)]
            for place, x in enumerate(tensors):
                if x.is_floating_point() and id(x) not in self._met:
                    self._met[id(x)] = x
                    self._meet(called if len(tensors) == 1 else f"{called}[{place}]", x)

        return hook

    def _meet(self, name: str, x: Tensor) -> None:
        self._see(self._series(name, ACTIVATION, x), x)
        if x.requires_grad:
            series = self._series(name, ACTIVATION_GRADIENT, x)

            def hook(gradient: Tensor) -> None:
                self._see_gradient(series, gradient)

            x.register_hook(hook)  # type: ignore[no-untyped-call]  # torch's own
