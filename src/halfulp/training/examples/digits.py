"""The digits of scikit-learn (1797 scanned images of 8 × 8), and a net of 64-128-10 on them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from halfulp.errors import missing_extra
from halfulp.training.experiment import Experiment

STEPS, BATCH, LEARNING_RATE = 2000, 64, 0.001


def build(seed: int, *, learning_rate: float = LEARNING_RATE, steps: int = STEPS) -> Experiment:
    """SGD on four fifths of the images; the metric is the accuracy on the rest."""
    images, labels = _images()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held_out = len(images) // 5
    test, train = order[:held_out], order[held_out:]
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))

    def batches() -> Any:
        for _ in range(steps):
            rows = train[torch.randint(len(train), (BATCH,), generator=generator)]
            yield images[rows], labels[rows]

    def evaluate(predict: Any) -> float:
        right = predict(images[test]).argmax(dim=1) == labels[test]
        return float(right.float().mean())

    return Experiment(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=learning_rate),
        batches=batches(),
        loss=cross_entropy,
        evaluate=evaluate,
        metric="accuracy",
    )


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise missing_extra("scikit-learn", "demo", "the digits example") from None
    bunch = load_digits()
    return torch.tensor(bunch.data / 16, dtype=torch.float32), torch.tensor(bunch.target)
