"""Training under a recipe on several ranks, and checkpoints that outlive any of them.

Two ways of torch to train on several ranks go with every recipe::

    model = DistributedDataParallel(net)   # whole weights on each rank
    fully_shard(net)                       # or a part of them on each: model = net
    prepared = prepare(model, optimizer, "mixed-bfloat16")

A recipe's ``reduction`` is the format that gradients are added up in; what it costs is
``prepared.reduction_loss``. Stochastic updates are the same on all ranks that have the same
weights, and a gradient that is not finite on one rank makes all of them skip the step.

Saving and going on, on all ranks together, is two lines, of which the second stands before the
training loop. No crash, also none while saving, leaves the folder without a whole checkpoint, once
there is one; and the training goes on with the bits that it would have had::

    save(prepared, "checkpoints")          # every so often
    load(prepared, "checkpoints")          # False where there is none yet

Checkpoints are torch.distributed.checkpoint's. They can be loaded on another number of ranks, also
on one; torch's random state (dropout's) is not among what they hold. Like all of torch's they run
code when they are opened: load none that you do not trust.
"""

from __future__ import annotations

import io
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from halfulp.errors import HalfulpError
from halfulp.training import ranks
from halfulp.training.reduction import ReductionLoss

if TYPE_CHECKING:
    from halfulp.training.prepared import Prepared

__all__ = ["ReductionLoss", "load", "save"]

_NAME = re.compile(r"checkpoint-(\d+)")
_PARTIAL = ".partial-"


class _Place(NamedTuple):
    """Where a tensor was in a state, and what is needed to make room for it."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    placements: tuple[Any, ...] | None  # of a DTensor


def save(prepared: Prepared, folder: str | Path) -> Path:
    """Save a training as the folder's last checkpoint; called on all ranks, which share the folder.

    It is written beside the one before, renamed once it is whole, and only then is the older one
    removed. Returns where it is.

    Raises HalfulpError between unscale_ and step, and where the folder cannot be written.
    """
    from torch.distributed.checkpoint.state_dict_saver import save as save_parts

    root, state = Path(folder), prepared.state_dict()
    tensors: dict[str, Tensor] = {}
    own = {"emulation": state.pop("emulation"), "buffers": _taken_buffers(prepared, state["model"])}
    structure = _without_tensors(state, tensors, "")
    number = _from_first(lambda: _next_number(root))
    partial, target = root / f"{_PARTIAL}{number}", root / f"checkpoint-{number:06d}"
    parts = {
        "structure": _sealed({"state": structure, "ranks": ranks.count()}),
        f"rank-{_rank()}": _sealed(own),
    }
    with _quietly():
        save_parts(tensors | parts, checkpoint_id=partial, no_dist=not ranks.are_there())
    _from_first(lambda: _put_in_place(partial, target))
    return target


def load(prepared: Prepared, folder: str | Path) -> bool:
    """Go on from the folder's last whole checkpoint; whether there was one. Called on all ranks.

    The training is prepared as the saved one was; there may be more ranks, or fewer.

    Raises HalfulpError, and changes nothing, where the checkpoint is of another recipe or model.
    """
    from torch.distributed.checkpoint.state_dict_loader import load as load_parts

    number = _from_first(lambda: max(_numbers(Path(folder)), default=0))
    if not number:
        return False
    source = Path(folder) / f"checkpoint-{number:06d}"

    def read(wanted: dict[str, Any]) -> dict[str, Any]:
        with _quietly():
            load_parts(wanted, checkpoint_id=source, no_dist=not ranks.are_there())
        return wanted

    found = _opened(read({"structure": b""})["structure"])
    name = f"rank-{_rank() % found['ranks']}"
    own = _opened(read({name: b""})[name])
    tensors: dict[str, Tensor] = {}
    _check_layout(found["state"]["model"], _mesh(prepared))
    state = _with_tensors(found["state"], tensors, _mesh(prepared))
    read(tensors)
    state["emulation"] = own["emulation"]
    state["model"].update(own["buffers"])
    prepared.load_state_dict(state)
    return True


def _sealed(value: Any) -> bytes:
    """As one piece, which torch would take apart into keys else."""
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()


def _opened(value: bytes) -> Any:
    return torch.load(io.BytesIO(value), weights_only=False, map_location="cpu")


def _taken_buffers(prepared: Prepared, state: dict[str, Any]) -> dict[str, Any]:
    """What is each rank's own of a model's state, such as statistics of batch norms."""
    names = [name for name, _ in prepared.module.named_buffers() if name in state]
    return {name: state.pop(name) for name in names}


def _without_tensors(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """A structure with places for tensors, which are put among the others by their names."""
    if isinstance(value, Tensor):
        tensors[name] = value
        placements = getattr(value, "placements", None)
        return _Place(name, tuple(value.shape), value.dtype, placements)
    if isinstance(value, dict):
        return {k: _without_tensors(v, tensors, f"{name}/{k}") for k, v in value.items()}
    if isinstance(value, list):
        return [_without_tensors(v, tensors, f"{name}/{i}") for i, v in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: dict[str, Tensor], mesh: Any) -> Any:
    """Such a structure with room for its tensors."""
    if isinstance(value, _Place):
        return tensors.setdefault(value.name, _room(value, mesh))
    if isinstance(value, dict):
        return {k: _with_tensors(v, tensors, mesh) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_tensors(v, tensors, mesh) for v in value]
    return value


def _room(place: _Place, mesh: Any) -> Tensor:
    if place.placements is None or mesh is None:  # a rank alone has all of it
        return torch.empty(place.shape, dtype=place.dtype)
    from torch.distributed.tensor import empty

    return empty(place.shape, dtype=place.dtype, device_mesh=mesh, placements=place.placements)


def _mesh(prepared: Prepared) -> Any:
    """The mesh that weights are laid out on, or None where they are whole."""
    meshes = (getattr(p, "device_mesh", None) for p in prepared.module.parameters())
    return next((mesh for mesh in meshes if mesh is not None), None)


def _check_layout(model: dict[str, Any], mesh: Any) -> None:
    if mesh is not None and all(place.placements is None for place in model.values()):
        raise HalfulpError(
            "the checkpoint is of whole weights, and the model is in fully_shard: load it in "
            "DistributedDataParallel or in one process"
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without a warning that one process is not several."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _rank() -> int:
    return dist.get_rank() if ranks.are_there() else 0


def _from_first(work: Callable[[], Any]) -> Any:
    """What the first rank finds or does, known to all, and done before any goes on.

    Raises on every rank what the first one raises.
    """
    answer: list[Any] = [None]
    if _rank() == 0:
        try:
            answer = [work()]
        except (HalfulpError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            where = getattr(error, "filename", None) or "the folder"
            answer = [HalfulpError(f"no checkpoint can be kept in {where}: {reason}")]
    if ranks.count() > 1:
        dist.broadcast_object_list(answer)
    if isinstance(answer[0], HalfulpError):
        raise answer[0]
    return answer[0]


def _numbers(root: Path) -> list[int]:
    """Those of the whole checkpoints."""
    names = [path.name for path in root.iterdir()] if root.is_dir() else []
    return [int(match[1]) for name in names if (match := _NAME.fullmatch(name))]


def _next_number(root: Path) -> int:
    """One above all there are, once what was left of a save that came to no end is removed."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left)
    return max(_numbers(root), default=0) + 1


def _put_in_place(partial: Path, target: Path) -> None:
    partial.rename(target)
    for number in _numbers(target.parent):
        older = target.with_name(f"checkpoint-{number:06d}")
        if older != target:
            # Under a name that is no checkpoint's first: what is half removed is not loaded.
            left = older.rename(older.with_name(f"{_PARTIAL}old-{number}"))
            shutil.rmtree(left, ignore_errors=True)
