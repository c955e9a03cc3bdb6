"""Record the gradients that come with halfulp: ``python -m halfulp.training.examples.record``.

Plain float32 trainings from seed 0, on one thread. From the same release of torch and the same kind
of processor come the same bits; the text that ``gpt`` reads grows with Python's releases.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from halfulp.gradients import FOLDER, INDEX, Part, Recording, file_of
from halfulp.training.experiment import Experiment, find_build
from halfulp.training.places import places
from halfulp.training.running import started

Array = npt.NDArray[Any]

SEED, MOST = 0, 32768  # elements of a step
#: An early step and a late one of each training, and how many steps it has.
STEPS = {"digits": ((10, 1990), 2000), "gpt": ((10, 290), 300)}


def record(name: str, folder: Path) -> Recording:
    """Train an example and write the gradients of its steps, a file each."""
    steps, of_steps = STEPS[name]
    with started(find_build(name), SEED, name) as start:
        model = start.experiment.model
        parts = _parts(model)
        for step in gradients_at(start.experiment, start.batches, steps):
            kept = [
                _gradient(p)[places(p.numel(), part.kept)]
                for p, part in zip(model.parameters(), parts, strict=True)
            ]
            np.save(folder / file_of(name, step), np.concatenate(kept))
    return Recording(name, steps, of_steps, parts)


def gradients_at(
    experiment: Experiment, batches: Iterator[tuple[Any, Any]], steps: tuple[int, ...]
) -> Iterator[int]:
    """Train plainly; stop at steps whose gradients are there and not yet applied."""
    for step, (inputs, targets) in enumerate(batches):
        experiment.optimizer.zero_grad()
        torch.autograd.backward(experiment.loss(experiment.model(inputs), targets))
        if step in steps:
            yield step
        if step == max(steps):
            return
        experiment.optimizer.step()


def _parts(model: torch.nn.Module) -> tuple[Part, ...]:
    """How many elements stand for each parameter: as large a share of one as of another."""
    every = dict(model.named_parameters())
    total, parts, offset = sum(p.numel() for p in every.values()), list[Part](), 0
    for name, p in every.items():
        kept = p.numel() if total <= MOST else p.numel() * MOST // total
        parts.append(Part(name, tuple(p.shape), p.numel(), kept, offset))
        offset += kept
    return tuple(parts)


def _gradient(p: torch.nn.Parameter) -> Array:
    assert p.grad is not None, "each parameter takes part in the loss"
    flat: Array = p.grad.flatten().numpy()
    return flat


def main(folder: Path) -> None:
    """Record all of them, and what is in their files."""
    torch.set_num_threads(1)  # sums of several threads are added up in another order
    index = [record(name, folder).to_dict() for name in STEPS]
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else str(FOLDER)))
