"""Which format the numbers of a tensor are in: emulated ones lie in float32 tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from halfulp.runs.samples import ACTIVATION, ACTIVATION_GRADIENT, GRADIENT, WEIGHT, Series
from halfulp.training.prepared import Prepared
from halfulp.training.watching.names import plain_name
from halfulp.training.weights import dtype_name, kept_modules, kept_names


class Held:
    """The formats of a training's tensors, by role."""

    def __init__(self, prepared: Prepared | None) -> None:
        self._formats: dict[str, str] = {}
        self._kept: tuple[str, ...] = ()
        self._parameters: set[str] = set()
        if prepared is None or prepared.emulation is None:
            return
        by = prepared.recipe
        self._formats = {
            WEIGHT: by.weights,
            GRADIENT: by.gradients,
            ACTIVATION: by.activations,
            ACTIVATION_GRADIENT: by.gradients,
        }
        self._kept = tuple(plain_name(name) for name, _ in kept_modules(prepared.module, by))
        self._parameters = {plain_name(name) for name in kept_names(prepared.module, by)}

    def series(self, name: str, role: str, x: Tensor) -> Series:
        """The series of a tensor, with the format that its numbers are in."""
        format = self._formats.get(role)
        if format is None or x.dtype is not torch.float32 or self._is_kept(name):
            format = dtype_name(x)
        return Series(name, role, format)

    def _is_kept(self, name: str) -> bool:
        inside = any(name == outer or name.startswith(f"{outer}.") for outer in self._kept)
        return name in self._parameters or inside
