"""The digits of scikit-learn (1797 scanned images of 8 × 8), and a net of 64-128-10 on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from halfulp.errors import missing_extra
from halfulp.training.experiment import Experiment

STEPS, BATCH, LEARNING_RATE = 2000, 64, 0.001


def build(seed: int, *, learning_rate: float = LEARNING_RATE, steps: int = STEPS) -> Experiment:
    """SGD on four fifths of the images; the metric is the accuracy on the rest."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    return reading(model, torch.optim.SGD(model.parameters(), lr=learning_rate), seed, steps)


def reading(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int, steps: int
) -> Experiment:
    """Training a model to tell from 64 pixels which digit they show."""
    (images, labels), (others, expected) = split()

    def evaluate(predict: Any) -> float:
        right = predict(others).argmax(dim=1) == expected
        return float(right.float().mean())

    return Experiment(
        model=model,
        optimizer=optimizer,
        batches=drawn(images, labels, seed, steps),
        loss=cross_entropy,
        evaluate=evaluate,
        metric="accuracy",
    )


def split() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Images (n × 64, from 0 to 1) and labels, to train on and held out: the same for each seed."""
    images, labels = _images()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held_out = len(images) // 5
    test, train = order[:held_out], order[held_out:]
    return (images[train], labels[train]), (images[test], labels[test])


def drawn(
    inputs: torch.Tensor, targets: torch.Tensor, seed: int, steps: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of rows drawn at random, with repetition."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (BATCH,), generator=generator)
        yield inputs[rows], targets[rows]


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise missing_extra("scikit-learn", "demo", "a training on digits") from None
    bunch = load_digits()
    return torch.tensor(bunch.data / 16, dtype=torch.float32), torch.tensor(bunch.target)
