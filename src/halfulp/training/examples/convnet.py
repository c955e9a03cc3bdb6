"""A convolutional net with batch norms, of 6274 parameters, on the digits of scikit-learn."""

from __future__ import annotations

import torch

from halfulp.training.examples.digits import reading
from halfulp.training.experiment import Experiment

STEPS, LEARNING_RATE = 300, 0.05


def build(seed: int, *, learning_rate: float = LEARNING_RATE, steps: int = STEPS) -> Experiment:
    """SGD with momentum on four fifths of the images; the metric is the accuracy on the rest."""
    model = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 8, 8)),
        *_layer(1, 8),
        *_layer(8, 16, stride=2),
        *_layer(16, 32, stride=2),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    return reading(model, optimizer, seed, steps)


def _layer(channels: int, filters: int, stride: int = 1) -> tuple[torch.nn.Module, ...]:
    """A convolution without a bias, which the batch norm after it would take away again."""
    return (
        torch.nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False),
        torch.nn.BatchNorm2d(filters),
        torch.nn.ReLU(),
    )
