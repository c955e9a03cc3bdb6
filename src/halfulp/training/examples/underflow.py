"""An autoencoder of the digits whose gradients are mostly below float16's least number, 2⁻²⁴.

It shows what loss scaling is for. The loss is a mean over 25 million outputs, of which a step sees
4096, so the gradient of each is its error times 2⁻²³·⁶. Dense tasks take such means (12 volumes of
128³ voxels have as many, GPT-3's batch is one of 3.2 million tokens), a large batch accumulated in
small ones comes to the same, and so do loss terms of small weight. The SSD detector of "Mixed
Precision Training" (arXiv 1710.03740, §3.2) diverged unscaled, and a scale of 8 was enough: only
gradients from 2⁻²⁷ up mattered. Here float16 makes 98 % of the gradients of activations zero, and
90 % of those of weights (16 % and 23 % are zero in float32): the loss stays five times float32's.
With a scale of 8 it is 1.1 times that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import mse_loss

from halfulp.training.examples.digits import drawn, split
from halfulp.training.experiment import Experiment

STEPS, LEARNING_RATE = 400, 0.002
OUTPUTS = 12 * 128**3  # that the loss is a mean over
# Adam's steps do not depend on the size of gradients, unless eps is not far below it: the usual
# 1e-8 is larger than most of them here.
EPS = 1e-12


def build(seed: int, *, learning_rate: float = LEARNING_RATE, steps: int = STEPS) -> Experiment:
    """Adam, through a layer of 16; the metric is the error (root mean square) on held-out images.

    Pixels go from 0 to 1.
    """
    (images, _), (others, _) = split()
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 16),
        torch.nn.Linear(16, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 64),
    )

    def evaluate(predict: Any) -> float:
        return float(mse_loss(predict(others), others).sqrt())

    return Experiment(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=learning_rate, eps=EPS),
        batches=drawn(images, images, seed, steps),
        loss=loss,
        evaluate=evaluate,
        metric="error",
    )


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The batch's mean square, to be read; its gradient is that of its share in the whole mean."""
    mean = mse_loss(outputs, targets)
    share = mean * (outputs.numel() / OUTPUTS)
    return share + (mean - share).detach()
