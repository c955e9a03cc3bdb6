"""The built-in trainings: the same run for a seed, learning in float32, and what each is to show."""

from __future__ import annotations

import copy
import math
from collections import Counter
from functools import partial
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import pytest
import torch

from halfulp.errors import HalfulpError
from halfulp.training.examples import convnet, gpt, underflow
from halfulp.training.experiment import BUILTIN, Experiment, built, find_build
from trainings import plainly


def made(name: str, seed: int = 0, **options: Any) -> Experiment:
    torch.manual_seed(seed)
    return built(partial(find_build(name), **options), seed, name)


def trained(experiment: Experiment) -> tuple[list[float], float]:
    """The losses of a plain float32 training, and the metric after it."""
    return plainly(experiment), measured(experiment)


def measured(experiment: Experiment) -> float:
    assert experiment.evaluate is not None
    experiment.model.eval()
    with torch.no_grad():
        return experiment.evaluate(experiment.model)


@pytest.mark.parametrize("name", BUILTIN)
def test_a_seed_is_a_run(name: str) -> None:
    first, again, other = (trained(made(name, seed, steps=4)) for seed in (3, 3, 4))
    assert len(first[0]) == 4
    assert first == again
    assert all(a != b for a, b in zip(first[0], other[0], strict=True))


@pytest.mark.parametrize("name", BUILTIN)
def test_seeds_are_held_to_the_same_data(name: str) -> None:
    def asked(seed: int) -> torch.Tensor:
        experiment, seen = made(name, seed, steps=1), []

        def predict(inputs: Any) -> Any:
            seen.append(inputs)
            return experiment.model(inputs)

        assert experiment.evaluate is not None
        with torch.no_grad():
            experiment.evaluate(predict)
        return torch.cat(seen)

    assert torch.equal(asked(0), asked(1))


@pytest.mark.parametrize("name", BUILTIN)
def test_batches_and_weights_depend_on_the_seed(name: str) -> None:
    one, two = made(name, 0, steps=1), made(name, 1, steps=1)
    batches = [next(iter(each.batches))[0] for each in (one, two)]
    assert batches[0].shape == batches[1].shape
    assert not torch.equal(*batches)
    weights = [
        torch.nn.utils.parameters_to_vector(each.model.parameters()).detach() for each in (one, two)
    ]
    assert not torch.equal(*weights)


def test_the_convnet_learns() -> None:
    experiment = made("convnet")
    assert sum(p.numel() for p in experiment.model.parameters()) == 6274
    losses, accuracy = trained(experiment)
    assert len(losses) == convnet.STEPS
    assert losses[0] > 2.2  # ten digits at about even odds: log 10 is 2.3
    assert sum(losses[-50:]) / 50 < 0.1
    assert accuracy > 0.95


def test_the_gpt_reads_the_language_reference() -> None:
    vocabulary, tokens = gpt.text()
    whole = "".join(vocabulary[token] for token in tokens.tolist())
    assert whole == "\n".join(text for _, text in sorted(topics.items()))
    assert list(vocabulary) == sorted(set(whole))
    assert "The " in whole
    assert len(whole) > 300_000


def test_the_gpt_learns() -> None:
    _, tokens = gpt.text()
    shares = [n / len(tokens) for n in Counter(tokens.tolist()).values()]
    entropy = -sum(share * math.log(share) for share in shares)  # of a character by itself
    losses, validation = trained(made("gpt", steps=150))
    assert abs(losses[0] - math.log(len(shares))) < 0.1  # even odds
    assert sum(losses[-20:]) / 20 < entropy - 0.4
    assert validation < entropy - 0.4


def test_the_gpt_is_of_the_size_asked_for() -> None:
    sizes = {"width": 48, "layers": 3, "heads": 6, "context": 20, "batch": 5}
    experiment = made("gpt", **sizes, steps=2)
    inputs, targets = next(iter(experiment.batches))
    assert inputs.shape == targets.shape == (5, 20)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    symbols = len(gpt.text()[0])
    assert experiment.model(inputs).shape == (5, 20, symbols)
    block = 12 * 48**2 + 13 * 48  # matrices; biases and norms
    expected = (symbols + 20) * 48 + 3 * block + 2 * 48  # the head is tied
    assert sum(p.numel() for p in experiment.model.parameters()) == expected
    assert math.isfinite(measured(experiment))


def test_the_gpt_does_not_see_what_follows() -> None:
    experiment = made("gpt", steps=1)
    inputs, _ = next(iter(experiment.batches))
    changed = inputs.clone()
    changed[:, 40:] = 0
    one, two = experiment.model(inputs), experiment.model(changed)
    assert torch.allclose(one[:, :40], two[:, :40], atol=1e-6)
    assert not torch.allclose(one[:, 40:], two[:, 40:], atol=1e-2)


def test_the_gpt_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(
        HalfulpError, match="heads is 5: allowed are divisors of width, which is 64"
    ):
        made("gpt", heads=5)


class Half(NamedTuple):
    """A training in float16: the loss at the end, the metric, and shares of gradients of zero."""

    loss: float
    metric: float
    activations: float
    weights: float


def in_float16(scale: float) -> Half:
    """Master weights and a scaled loss by hand, as in test_training.py."""
    experiment = made("underflow")
    masters = list(experiment.model.parameters())
    half = copy.deepcopy(experiment.model).half()
    outputs: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, found: torch.Tensor) -> None:
        found.retain_grad()
        outputs.append(found)

    for layer in half.children():
        layer.register_forward_hook(keep)
    losses, activations, weights = [], [], []
    for inputs, targets in experiment.batches:
        outputs.clear()
        for held, master in zip(half.parameters(), masters, strict=True):
            held.data = master.detach().half()
            held.grad = None
        loss = experiment.loss(half(inputs.half()).float(), targets)
        (loss * scale).backward()
        for held, master in zip(half.parameters(), masters, strict=True):
            master.grad = held.grad.float() / scale
        experiment.optimizer.step()
        losses.append(float(loss.detach()))
        activations.append(zeros([output.grad for output in outputs]))
        weights.append(zeros([held.grad for held in half.parameters()]))
    end = sum(losses[-50:]) / 50
    return Half(
        end, measured(experiment), sum(activations) / len(losses), sum(weights) / len(losses)
    )


def zeros(gradients: list[Any]) -> float:
    found = torch.cat([gradient.flatten() for gradient in gradients])
    return float((found == 0).float().mean())


def test_gradients_underflow_and_a_scale_of_8_is_nearly_enough() -> None:
    losses, error = trained(made("underflow"))
    loss = sum(losses[-50:]) / 50
    assert loss < losses[0] / 15  # gradients of 2⁻²⁴ are no trouble in float32
    plain, eight, much = in_float16(1), in_float16(8), in_float16(65536)
    assert plain.loss > 3 * loss
    assert plain.metric > 1.7 * error
    assert plain.activations > 0.95
    assert plain.weights > 0.85
    assert loss < eight.loss < 1.25 * loss
    assert plain.activations - 0.2 > eight.activations > much.activations + 0.3
    assert plain.weights - 0.3 > eight.weights > much.weights + 0.1
    assert abs(much.loss / loss - 1) < 0.05
    assert abs(much.metric / error - 1) < 0.05


def test_the_share_of_gradients_below_float16() -> None:
    """In float32, of those that are not zero."""
    experiment, found = made("underflow"), []
    for inputs, targets in experiment.batches:
        experiment.optimizer.zero_grad()
        experiment.loss(experiment.model(inputs), targets).backward()
        found += [
            p.grad.flatten().abs() for p in experiment.model.parameters() if p.grad is not None
        ]
        experiment.optimizer.step()
    gradients = torch.cat(found[::10])
    gradients = gradients[gradients > 0]

    def share(least: float, most: float) -> float:
        return float(((gradients >= least) & (gradients < most)).float().mean())

    assert 0.8 < share(0, 2**-24) < 0.95
    assert share(2**-27, 2**-24) > 0.45  # what a scale of 8 brings back
    assert share(0, underflow.EPS) < 0.01


def test_the_loss_is_the_mean_and_its_gradient_a_share() -> None:
    outputs = torch.tensor([[0.5, 1.0]], requires_grad=True)
    loss = underflow.loss(outputs, torch.tensor([[0.0, 3.0]]))
    assert float(loss.detach()) == (0.5**2 + 2**2) / 2
    loss.backward()
    assert outputs.grad is not None
    assert torch.allclose(outputs.grad * underflow.OUTPUTS, torch.tensor([[1.0, -4.0]]))
