"""Two real processes on gloo, for tests of what ranks do together."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def joined(rank: int, folder: Path, name: str) -> None:
    """One of two ranks."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / name), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)


def leave() -> None:
    """Without what torch does at the end, where gloo's threads at times abort the process."""
    with suppress(RuntimeError):  # the other one is gone already
        dist.barrier()
    os._exit(0)


def start(work: Any, folder: Path, *more: Any) -> list[Any]:
    """Two processes, with one thread each."""
    context = mp.get_context("spawn")
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        processes = [context.Process(target=work, args=(rank, folder, *more)) for rank in range(2)]
        for process in processes:
            process.start()
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        os.environ.update({} if before is None else {"OMP_NUM_THREADS": before})
    return processes


def ended(processes: list[Any], seconds: float = 300) -> list[int | None]:
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
    return [process.exitcode for process in processes]


def once(factory: pytest.TempPathFactory, name: str, work: Any) -> Path:
    """A folder that one of pytest's workers fills, for all of them."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    try:
        folder.mkdir()
    except FileExistsError:
        while not (folder / "done").exists():
            time.sleep(0.1)
        return folder
    try:
        work(folder)
    finally:
        (folder / "done").touch()
    return folder
