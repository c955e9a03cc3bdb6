"""The plain float32 training that recipes are held to."""

from __future__ import annotations

from halfulp.training import Experiment


def plainly(experiment: Experiment) -> list[float]:
    """The losses of torch's own loop."""
    losses = []
    for inputs, targets in experiment.batches:
        experiment.optimizer.zero_grad()
        loss = experiment.loss(experiment.model(inputs), targets)
        loss.backward()
        experiment.optimizer.step()
        losses.append(float(loss.detach()))
    return losses
