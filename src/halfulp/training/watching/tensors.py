"""Looking at a tensor of any dtype, device and layout, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from halfulp.backends.observing import Seen, observe
from halfulp.training.weights import local

#: Elements that are copied at a time where they cannot be read where they lie: 4 MiB of float32.
PIECE = 1 << 20


@torch.no_grad()
def seen_in(x: Tensor, formats: Sequence[str], divisor: float = 1.0) -> Seen:
    """What a tensor of floats holds, divided by a loss scale; of complex ones, both parts."""
    found: Seen | None = None
    for piece in pieces(x, divisor):
        here = observe(piece, formats)
        found = here if found is None else found.merged(here)
    return found or observe(np.zeros(0, np.float32), formats)


def pieces(x: Tensor, divisor: float = 1.0, size: int = PIECE) -> Iterator[np.ndarray]:
    """The elements in C order as float32 (float64 of float64 tensors), not to be written to."""
    flat = flattened(x)
    wide = torch.float64 if flat.dtype is torch.float64 else torch.float32
    for start in range(0, flat.numel(), size):
        piece = flat[start : start + size].to("cpu", wide)
        if divisor != 1.0:
            piece = piece / divisor
        yield piece.contiguous().numpy()


def flattened(x: Tensor) -> Tensor:
    """The elements that lie on this rank, in C order, real; a view where there can be one."""
    here = local(x.detach())
    if here.layout is not torch.strided:
        here = here.coalesce().values() if here.layout is torch.sparse_coo else here.to_dense()
    if here.is_complex():
        here = torch.view_as_real(here)
    return here.reshape(-1)
