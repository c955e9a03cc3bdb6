"""Where a number that is not finite began, told by the graph of a step that went wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from halfulp.training import prepare
from halfulp.training.examples.gpt import build
from halfulp.training.origins import saved
from halfulp.training.origins.graph import Origin, find, operators_of, origin


def names_of(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))


def convnet() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 2),
    )


def gpt() -> tuple[nn.Module, Tensor, Callable[[Tensor], Tensor]]:
    torch.manual_seed(0)
    experiment = build(0, width=32, layers=2, context=16, batch=4)
    inputs, targets = next(iter(experiment.batches))
    return experiment.model, inputs, lambda out: experiment.loss(out, targets)


def rows(count: int = 8) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


def found(outputs: Any, model: nn.Module) -> Origin:
    """The origin, by the function that hides no mistake of its own."""
    origin_ = find(outputs, names_of(model))
    assert origin_ is not None
    assert origin(outputs, names_of(model)) == origin_
    assert 0 < len(origin_.frames) <= 12
    assert Origin.from_json(origin_.to_json()) == origin_
    return origin_


def scale(parameter: Tensor, factor: float) -> None:
    with torch.no_grad():
        parameter.mul_(factor)


def spoil(parameter: Tensor, value: float = math.nan) -> None:
    with torch.no_grad():
        parameter.view(-1)[0] = value


# Nothing is wrong.


def test_what_is_finite_has_no_origin() -> None:
    model, images = mlp(), torch.randn(4, 1, 8, 8)
    assert find(model(rows()), names_of(model)) is None
    assert find(convnet()(images), {}) is None
    network, tokens, loss = gpt()
    out = network(tokens)
    assert find({"logits": [out], "loss": loss(out)}, names_of(network)) is None


def test_a_mask_of_minus_infinity_is_as_meant() -> None:
    model, x = nn.Linear(8, 8), torch.randn(2, 5, 8)
    mask = torch.ones(5, 5).triu(1).bool()
    added = torch.zeros(5, 5).masked_fill(mask, -math.inf)
    for hide in (lambda s: s.masked_fill(mask, -math.inf), lambda s: s + added):
        h = model(x)
        assert find(hide(h @ h.mT).softmax(-1) @ h, names_of(model)) is None
    h = model(x)
    assert find(F.scaled_dot_product_attention(h, h, h, added), names_of(model)) is None
    # And it is not blamed for what goes wrong later.
    h = model(x)
    out = hide(h @ h.mT).softmax(-1) @ h
    assert found((out * 30000).exp(), model).operator == "exp"


@pytest.mark.parametrize(
    "outputs",
    [None, 3, [], {"a": "text"}, torch.tensor(math.nan), nn.Parameter(torch.tensor(math.nan))],
    ids=str,
)
def test_outputs_without_a_graph_have_no_origin(outputs: Any) -> None:
    assert find(outputs, {}) is None
    assert operators_of(outputs, {}) == {}


def test_outputs_made_without_gradients_have_no_origin() -> None:
    model = mlp()
    with torch.no_grad():
        assert find(model(rows() * math.nan), names_of(model)) is None


# What came in.


def test_the_sample_that_was_nan_is_named() -> None:
    model, x = mlp(), rows()
    x[5, 2] = math.nan
    origin_ = found(model(x), model)
    assert (origin_.operator, origin_.place) == ("addmm", "with 0.weight")
    assert (origin_.what, origin_.samples) == ("input", (5,))
    assert str(origin_) == (
        "1 of 48 numbers was NaN in the input of addmm with 0.weight, in row 5 of 8"
    )
    assert origin_.frames[-1].nan == 1


def test_the_image_that_was_infinite_is_named() -> None:
    model, images = convnet(), torch.randn(4, 1, 8, 8)
    images[2] = math.inf
    origin_ = found(model(images), model)
    assert (origin_.operator, origin_.what, origin_.samples) == ("convolution", "input", (2,))


def test_an_input_that_asks_for_a_gradient_is_no_parameter() -> None:
    model, x = mlp(), rows()
    x[1] = math.inf
    origin_ = found(model(x.requires_grad_()), model)
    assert (origin_.what, origin_.samples) == ("input", (1,))


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "1.weight", "3.weight"])
def test_a_parameter_that_was_nan_is_named(name: str) -> None:
    model = mlp()
    parameter = dict(model.named_parameters())[name]
    spoil(parameter)
    origin_ = found(model(rows()), model)
    reader = "native_layer_norm" if name == "1.weight" else "addmm"
    assert (origin_.operator, origin_.what) == (reader, "parameter")
    assert str(origin_).startswith(
        f"{name}: 1 of {parameter.numel()} numbers was NaN before {reader}"
    )
    assert origin_.frames[-1].kind == "parameter"


def test_a_frozen_parameter_that_was_nan_is_named() -> None:
    model = mlp()
    spoil(model[3].weight.requires_grad_(False))
    origin_ = found(model(rows()), model)
    assert (origin_.what, "3.weight" in str(origin_)) == ("parameter", True)


def test_the_first_of_several_is_named() -> None:
    model, x = mlp(), rows()
    x[0, 0] = math.nan
    spoil(model[3].weight)
    assert found(model(x), model).what == "input"


def test_a_plain_number_that_is_nan_is_an_input() -> None:
    model = mlp()
    origin_ = found(model(rows()) * math.nan, model)
    assert str(origin_) == "mul, after 3.weight, was given a number that is NaN"


def test_an_embedding_that_holds_nan_is_named() -> None:
    network, tokens, loss = gpt()
    spoil(network.positions.weight)
    origin_ = found(loss(network(tokens)), network)
    assert (origin_.operator, origin_.what) == ("embedding", "parameter")
    assert "positions.weight" in str(origin_)


# What an operator made.

MADE = {
    "log": (lambda h: h.relu().log().mean(), "0, where its value"),
    "log10": (lambda h: (h * 0).log10(), "0, where its value"),
    "div": (lambda h: (h / h.relu()).sum(), "0, where its value"),
    "pow": (lambda h: (h.relu() ** -1.0).sum(), "0, where its value"),
    "exp": (lambda h: (h * 30000).exp().sum(), "infinite"),
    "reciprocal": (lambda h: h.relu().reciprocal().sum(), "infinite"),
    "rsqrt": (lambda h: h.relu().rsqrt().mean(), "infinite"),
}


@pytest.mark.parametrize("operator", MADE)
def test_the_operator_that_made_it_is_named(operator: str) -> None:
    model = mlp()
    compute, words = MADE[operator]
    origin_ = found(compute(model(rows())), model)
    assert (origin_.operator, origin_.place, origin_.what) == (operator, "after 3.weight", "result")
    assert str(origin_).startswith(f"{operator}, after 3.weight, made ")
    assert words in str(origin_)


@pytest.mark.parametrize(
    ("operator", "compute"),
    [
        ("sqrt", lambda h: (h * 0).sqrt().mean()),
        ("pow", lambda h: ((h * 0) ** 0.5).mean()),
        ("log", lambda h: torch.where(h > 1e9, (h * 0).log(), 0.0).sum()),
    ],
)
def test_gradients_that_are_not_finite_of_an_output_that_is(
    operator: str, compute: Callable[[Tensor], Tensor]
) -> None:
    model = mlp()
    out = compute(model(rows()))
    assert out.isfinite()
    origin_ = found(out, model)
    assert (origin_.operator, origin_.place) == (operator, "after 3.weight")
    out.backward()
    assert not model[0].weight.grad.isfinite().all()


def test_a_row_that_is_masked_in_whole_is_told_of_its_softmax() -> None:
    model, x = nn.Linear(8, 8), torch.randn(2, 5, 8)
    mask = torch.ones(5, 5).triu(1).bool()
    mask[0] = True
    h = model(x)
    origin_ = found((h @ h.mT).masked_fill(mask, -math.inf).softmax(-1) @ h, model)
    assert origin_.operator == "softmax"
    assert "10 of 50 numbers NaN: a row of −inf alone" in str(origin_)


def test_autocast_overflow_of_an_activation_is_told_with_its_format() -> None:
    model = mlp()
    scale(model[3].weight, 3e4)
    scale(model[1].weight, 100)
    with torch.autocast("cpu", torch.float16):
        out = model(rows()).relu().sum()
    origin_ = found(out, model)
    assert (origin_.operator, origin_.place) == ("addmm", "with 3.weight")
    assert "numbers infinite: its largest input was " in str(origin_)
    assert str(origin_).endswith("float16 ends at 65504")
    assert origin_.frames[-1].nonfinite > 0


def test_autocast_overflow_of_a_weight_is_told_of_its_conversion() -> None:
    model = mlp()
    scale(model[3].weight, 3e5)
    with torch.autocast("cpu", torch.float16):
        out = model(rows())
    origin_ = found(out, model)
    assert (origin_.operator, origin_.place) == ("to_copy", "with 3.weight")
    assert origin_.frames[-1].dtype == "float16"
    with torch.autocast("cpu", torch.bfloat16):
        assert find(model(rows()), names_of(model)) is None


@pytest.mark.parametrize("recipe", ["mixed-float16", "autocast-float16", "pure-float16"])
def test_overflow_under_a_recipe_is_named_inside_its_forward_pass(recipe: str) -> None:
    model = mlp()
    scale(model[1].weight, 250)
    scale(model[3].weight, 2000)
    prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), recipe)
    seen: list[Origin] = []
    model.register_forward_hook(lambda module, inputs, out: seen.append(found(out, model)))
    out = model(rows())
    assert not out.isfinite().all()
    for origin_ in (*seen, found(out, model)):
        assert (origin_.operator, origin_.place) == ("addmm", "with 3.weight")


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return h + self.last(h)


def test_overflow_of_an_emulated_format_is_told_by_what_would_have_fitted() -> None:
    """A hook from before the recipe sees float32 tensors and nothing else of the emulation."""
    model, seen = Residual(), []
    scale(model.first.weight, 200)
    scale(model.last.weight, 2000)
    model.register_forward_hook(lambda module, inputs, out: seen.append(found(out, model)))
    prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), "pure-float16")
    assert not model(rows()).isfinite().all()
    assert (seen[0].operator, seen[0].place) == ("addmm", "with last.weight")


def test_what_a_transformer_block_overflows_in_is_named() -> None:
    network, tokens, loss = gpt()
    scale(network.blocks[1].perceptron[0].weight, 1e20)
    scale(network.blocks[1].perceptron[2].weight, 1e20)
    origin_ = found(loss(network(tokens)), network)
    assert (origin_.operator, origin_.place) == ("addmm", "with blocks.1.perceptron.2.weight")
    assert "or the add after it" in str(origin_)  # the sum kept neither of its terms
    assert [frame.operator for frame in origin_.frames[-2:]] == ["add", "add"]


def test_attention_that_overflows_is_named() -> None:
    network, tokens, loss = gpt()
    scale(network.blocks[0].attention_in.weight, 1e20)
    origin_ = found(loss(network(tokens)), network)
    assert origin_.operator.startswith("scaled_dot_product")
    assert origin_.place == "after blocks.0.attention_in.weight"


def test_frames_run_from_inputs_to_outputs() -> None:
    model = mlp()
    frames = found((model(rows()) * 30000).exp(), model).frames
    assert [f.operator for f in frames][-4:] == ["addmm", "addmm", "mul", "exp"]
    assert [f.kind for f in frames[-2:]] == ["input", "result"]
    assert [f.nonfinite > 0 for f in frames] == [False] * (len(frames) - 1) + [True]
    assert frames[-1].shape == (8, 3)
    assert all(f.least <= f.amax for f in frames)


# Odd graphs.


class Loud(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x * math.inf
        ctx.save_for_backward(x.detach() * 2, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Quiet(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * math.nan

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


@pytest.mark.parametrize("custom", [Loud, Quiet])
def test_a_function_of_the_users_is_named_by_its_class(custom: Any) -> None:
    model = mlp()
    assert found(custom.apply(model(rows())), model).operator == custom.__name__
    origin_ = found(custom.apply(model(rows())).sum(), model)
    assert (origin_.operator, origin_.place) == (custom.__name__, "after 3.weight")


class Blocks(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.block, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.reentrant, self.calls, self.factor = reentrant, 0, 1.0

    def inner(self, h: Tensor) -> Tensor:
        self.calls += 1
        return (F.dropout(self.block(h), 0.1) * self.factor) ** self.power(h)

    def power(self, h: Tensor) -> Tensor:
        return torch.full((6,), 2.0)  # a tensor: its node's _saved_exponent is one that is kept

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.reentrant is None:
            return self.last(self.inner(h))
        return self.last(checkpoint(self.inner, h, use_reentrant=self.reentrant))


@pytest.mark.parametrize("says_hooks", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_is_not_computed_again(
    reentrant: bool, says_hooks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "SAYS_HOOKS", says_hooks and saved.SAYS_HOOKS)
    model = Blocks(reentrant)
    model.factor = 1e30
    out = model(rows())
    origin_ = found(out, model)
    assert model.calls == 1
    assert origin_.place.startswith("after first" if reentrant else "with block")
    operators_of(out, names_of(model))
    assert model.calls == 1
    out.sum().backward()
    assert model.calls == 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_goes_wrong_beside_a_checkpoint_is_named(reentrant: bool) -> None:
    model = Blocks(reentrant)
    origin_ = found((model(rows()) * 30000).exp(), model)
    assert (origin_.operator, origin_.place) == ("exp", "after last.weight")
    spoil(model.first.weight)
    assert found(model(rows()), model).what == "parameter"
    assert model.calls == 2


def test_a_checkpoint_says_what_it_cannot_show() -> None:
    model = Blocks(False)
    model.factor = 1e30
    assert "not kept, as in a checkpoint" in str(found(model(rows()), model))


def test_hooks_of_the_user_are_not_run() -> None:
    model, unpacked = mlp(), []

    def unpack(packed: Any) -> Tensor:
        unpacked.append(packed)
        return packed[0]

    with torch.autograd.graph.saved_tensors_hooks(lambda t: (t.clone(),), unpack):
        out = (model(rows()) * 30000).exp()
        assert find(out, names_of(model)) is not None
        later = model(rows())
    assert not unpacked
    assert find(later, names_of(model)) is None
    later.sum().backward()
    assert unpacked


def test_what_was_put_aside_on_the_cpu_is_read_there() -> None:
    model = mlp()
    with torch.autograd.graph.save_on_cpu():
        origin_ = found((model(rows()) * 30000).exp().sum(), model)
    assert (origin_.operator, origin_.place) == ("exp", "after 3.weight")


def test_kept_tensors_that_changed_in_place_are_passed_over() -> None:
    model = mlp()
    out = model(rows()).exp()
    out.mul_(1e30).mul_(1e30)
    assert found(out, model).operator == "exp"  # or one of those after it
    out = model(rows())
    out[:, 0] = out[:, 0] / 0
    assert found(out, model).operator == "div"


def test_a_graph_that_was_freed_says_what_it_can() -> None:
    model = mlp()
    out = (model(rows()) * 30000).exp().sum()
    out.backward()
    assert "operators that followed" in str(found(out, model))
    assert operators_of(out, names_of(model))["3.weight"] == "addmm"


def test_second_derivatives_are_a_graph_as_well() -> None:
    model, x = mlp(), rows().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    assert find(slope, names_of(model)) is None
    assert found((slope * 3e4).exp().sum(), model).operator == "exp"


@pytest.mark.parametrize("count", [10_000, 30_000])
def test_a_deep_graph_is_walked_without_recursion(count: int) -> None:
    model = nn.Linear(6, 2)
    out = model(rows())
    for _ in range(count):
        out = out + 1e-3
    origin_ = found((out * 1e38 * 1e38).sum(), model)
    assert ("20,000" in str(origin_)) == (count > 20_000)


def test_an_outer_dispatch_mode_sees_nothing_of_it() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counts(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.seen += 1
            return func(*args, **(kwargs or {}))

    model = mlp()
    out = (model(rows()) * 30000).exp()
    with Counts() as counts:
        find(out, names_of(model))
    assert counts.seen == 0


def test_what_goes_wrong_inside_is_not_the_trainings_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr("halfulp.training.origins.graph.walk", broken)
    model = mlp()
    assert origin(model(rows()) * math.nan, names_of(model)) is None
    assert operators_of(model(rows()), names_of(model)) == {}


# Nothing changes.


@pytest.mark.parametrize("reentrant", [None, True, False])
def test_gradients_and_random_numbers_are_the_same_bits(reentrant: bool | None) -> None:
    plain = Blocks(reentrant)
    looked_at = copy.deepcopy(plain)
    results = []
    for model, look in ((plain, False), (looked_at, True)):
        torch.manual_seed(3)
        out = model(rows())
        versions = [p._version for p in model.parameters()]
        if look:
            find((out, out * math.nan), names_of(model))
            find(out, names_of(model))
            operators_of(out, names_of(model))
        state = torch.get_rng_state()
        out.square().sum().backward()
        assert [p._version for p in model.parameters()] == versions
        results.append((out.detach(), state, *(p.grad for p in model.parameters())))
    assert plain.calls == looked_at.calls
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# Operators of parameters.


def test_every_parameter_is_told_who_reads_it() -> None:
    model = convnet()
    images = torch.randn(4, 1, 8, 8)
    expected = {
        "0.weight": "convolution", "0.bias": "convolution", "1.weight": "native_batch_norm",
        "1.bias": "native_batch_norm", "5.weight": "addmm", "5.bias": "addmm",
    }  # fmt: skip
    assert operators_of(model(images), names_of(model)) == expected
    with torch.autocast("cpu", torch.bfloat16):
        out = model(images)
    assert operators_of(out, names_of(model)) == expected


def test_tied_weights_are_told_all_who_read_them() -> None:
    network, tokens, loss = gpt()
    out = loss(network(tokens))
    operators = operators_of([{"loss": out}], names_of(network))
    assert set(operators) == set(names_of(network).values())
    assert operators["tokens.weight"] == "embedding and mm"
    assert operators["blocks.0.perceptron.0.weight"] == "addmm"


def test_operators_are_called_as_torch_calls_them() -> None:
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    made = {
        "max_pool2d_with_indices": F.max_pool2d(x, 2),
        "smooth_l1_loss": F.smooth_l1_loss(x, torch.zeros_like(x)),
        "log_softmax": x.log_softmax(-1),
        "log1p": x.abs().log1p(),
        "avg_pool2d": F.avg_pool2d(x, 2),
        "upsample_nearest2d": F.interpolate(x, scale_factor=2),
        "to_copy": x.half(),
    }
    assert {name: saved.operator_name(out.grad_fn) for name, out in made.items()} == {
        name: name for name in made
    }
