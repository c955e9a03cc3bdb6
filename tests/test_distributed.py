"""Recipes on two ranks: real processes on gloo, held to one process and to plain torch."""

from __future__ import annotations

import os
import signal
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel as Wrapped

import halfulp as hu
from halfulp.training import prepare, recipe
from halfulp.training.distributed import load, save
from processes import ended, joined, leave, once, start

RECIPES = (
    "float32", "autocast-float16", "mixed-float16", "pure-bfloat16", "bfloat16-stochastic", "bfloat16-kahan",
    "bfloat16-split", "float8-hybrid", "mxfp8",
)  # fmt: skip
NATIVE = ("pure-bfloat16", "bfloat16-stochastic", "bfloat16-kahan", "bfloat16-split")
# How a model is put on two ranks: in DistributedDataParallel before or after prepare, or sharded.
LAYOUTS = ("wrapped", "wrapped after", "sharded")
CASES = [
    (name, layout, emulate)
    for name in RECIPES
    for layout in LAYOUTS
    for emulate in ((None, True) if name in NATIVE and layout != "sharded" else (None,))
]
REDUCTIONS = [
    (name, layout, target)
    for name, layout in (
        ("float32", "wrapped"),
        ("float32", "sharded"),
        ("mixed-bfloat16", "wrapped"),
    )
    for target in ("float16", "float8_e5m2", "float4_e2m1fn")
]


def net(seed: int = 0) -> torch.nn.Module:
    """With a kept module, and sizes that two ranks do not share evenly."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 15), torch.nn.LayerNorm(15), torch.nn.GELU(), torch.nn.Linear(15, 3)
    )


def batches(count: int, rank: int | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A half of each batch to each of two ranks; or, with None, all of it."""
    g = torch.Generator().manual_seed(5)
    whole = [
        (torch.randn(16, 6, generator=g), torch.randint(0, 3, (16,), generator=g))
        for _ in range(count)
    ]
    return whole if rank is None else [(x[rank::2], y[rank::2]) for x, y in whole]


def with_kept(name: str) -> Any:
    """The recipe with LayerNorm in float32, as a derived one."""
    unkept = name in ("float32", "autocast-float16", "pure-bfloat16")
    return recipe(name) if unkept else recipe(name).replace(keep_float32=("LayerNorm",))


def laid_out(model: Any, layout: str) -> Any:
    if layout == "wrapped":
        return Wrapped(model)
    if layout == "sharded":
        from torch.distributed.fsdp import fully_shard

        fully_shard(model[0])
        fully_shard(model)
    return model


def training(name: Any, layout: str, emulate: bool | None = None, **more: Any) -> tuple[Any, Any]:
    model = laid_out(net(), layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    prepared = prepare(model, optimizer, name, emulate=emulate, **more)
    return prepared, Wrapped(model) if layout == "wrapped after" else model


def trained(prepared: Any, model: Any, data: Any) -> list[float]:
    losses = []
    for x, y in data:
        loss = cross_entropy(model(x), y)
        prepared.backward(loss)
        prepared.step()
        losses.append(loss.item())
    return losses


def whole(x: Any) -> torch.Tensor:
    return (x.full_tensor() if hasattr(x, "full_tensor") else x).detach().clone()


def weights(prepared: Any) -> torch.Tensor:
    """What the model computes with and the masters, as one float32 tensor."""
    kept = [w.value for w in prepared.weights if w.is_whole]
    return torch.cat([whole(p).flatten().float() for p in [*prepared.module.parameters(), *kept]])


# What runs on both ranks; each job's results are looked at by the test below it.


def alone(rank: int) -> Any:
    """Before there are ranks: one process, with all of each batch."""
    found = {}
    for name, emulate in {(name, emulate) for name, _, emulate in CASES}:
        prepared, model = training(with_kept(name), "alone", emulate)
        found[name, emulate] = trained(prepared, model, batches(20, None)), weights(prepared)
    return found


def same_data(rank: int) -> Any:
    found = {}
    for name, layout, emulate in CASES:
        prepared, model = training(with_kept(name), layout, emulate)
        found[name, layout, emulate] = (
            trained(prepared, model, batches(20, None)), weights(prepared), prepared.skipped,
        )  # fmt: skip
    return found


def halves(rank: int) -> Any:
    found = {}
    for name, layout, emulate in CASES:
        prepared, model = training(with_kept(name), layout, emulate)
        found[name, layout, emulate] = (
            trained(prepared, model, batches(20, rank)), weights(prepared), model.training,
        )  # fmt: skip
    return found


def plain(rank: int) -> Any:
    """Torch alone."""
    found = {}
    for layout in ("wrapped", "sharded"):
        model = laid_out(net(), layout)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        losses = []
        for x, y in batches(20, rank):
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found[layout] = losses, torch.cat([whole(p).flatten() for p in model.parameters()])
    return found


def reductions(rank: int) -> Any:
    """Gradients of two ranks apart, without any recipe's reduction; and added up in one."""
    found = {}
    for name, layout, target in REDUCTIONS:
        apart = []
        for each in range(2):
            model = net()
            lone = prepare(
                model, torch.optim.SGD(model.parameters()), recipe(name).replace(gradients="float32")
                if name == "float32" else name, emulate=True,
            )  # fmt: skip
            for x, y in batches(1, each):
                loss = cross_entropy(model(x), y) * 2**12
                if lone.emulation is None:
                    loss.backward()
                else:
                    with lone.emulation.backward_pass():
                        loss.backward()
            apart.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        by = recipe(name).replace(reduction=target)
        prepared, model = training(by, layout, True)
        for x, y in batches(1, rank):
            prepared.backward(cross_entropy(model(x), y) * 2**12)
        summed = torch.cat([whole(p.grad).flatten() for p in prepared.module.parameters()])
        prepared.step()
        found[name, layout, target] = apart, summed, prepared.reduction_loss
    return found


def native_reduction(rank: int) -> Any:
    by = recipe("bfloat16-kahan").replace(reduction="float8_e5m2")
    found = {}
    for emulate in (False, True):
        prepared, model = training(by, "wrapped", emulate)
        trained(prepared, model, batches(3, rank))
        found[emulate] = weights(prepared), prepared.reduction_loss
    return found


def overflows(rank: int) -> Any:
    """In the third step of six a gradient of rank 1 alone is beyond float16."""
    found = {}
    for layout in LAYOUTS:
        prepared, model = training("mixed-float16", layout)
        taken = []
        for i, (x, y) in enumerate(batches(6, rank)):
            loss = cross_entropy(model(x), y) * (1e6 if rank == 1 and i == 2 else 1)
            prepared.backward(loss)
            taken.append(prepared.step())
        found[layout] = taken, prepared.scale, weights(prepared)
    return found


def accumulated(rank: int) -> Any:
    """Two backward passes to a step, the first without a sum across ranks; and clipping."""
    found = {}
    for layout in ("wrapped", "sharded", "alone"):
        prepared, model = training(with_kept("bfloat16-kahan"), layout, True)
        norms = []
        for _ in range(3):
            for i, (x, y) in enumerate(batches(2, None)):
                if layout == "sharded":
                    model.set_requires_gradient_sync(i == 1)
                if layout == "wrapped":
                    model.require_backward_grad_sync = i == 1
                prepared.backward(cross_entropy(model(x), y) / 2)
            norms.append(prepared.clip_grad_norm_(0.01))
            prepared.step()
        found[layout] = norms, weights(prepared)
    return found


def rebuilt(rank: int) -> Any:
    """DistributedDataParallel with what it was made with, and a hook of the user's."""
    found: dict[str, Any] = {"calls": 0}

    def hook(state, bucket):  # type: ignore[no-untyped-def]  # torch compares annotations
        found["calls"] += 1
        return fp16_compress_hook(dist.group.WORLD, bucket)

    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

    for name, options in (
        ("as it is", {}), ("static", {"static_graph": True}),
        ("views", {"gradient_as_bucket_view": True}), ("unused", {"find_unused_parameters": True}),
        ("hook", {}),
    ):  # fmt: skip
        model = Wrapped(net(), **options)
        if name == "hook":
            model.register_comm_hook(None, hook)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        prepared = prepare(model, optimizer, "bfloat16-split", emulate=False)
        trained(prepared, model, batches(5, rank))
        found[name] = weights(prepared)
    return found


def refused(rank: int) -> Any:
    """What is said, by what was done."""
    from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard

    def under(name: Any, model: Any, **more: Any) -> Any:
        return prepare(model, torch.optim.SGD(model.parameters()), name, **more)

    def too_late() -> None:
        model = net()
        wrapper = Wrapped(model)
        under("bfloat16-kahan", model)
        del wrapper

    def sharded_after() -> None:
        model = net()
        prepared = under("bfloat16-kahan", model, emulate=True)
        fully_shard(model)
        prepared.backward(model(torch.ones(2, 6)).sum())

    def hooked() -> None:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

        model = Wrapped(net())
        model.register_comm_hook(None, fp16_compress_hook)
        under(summing, model)

    def with_policy() -> None:
        model = net()
        fully_shard(model, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.bfloat16))
        under("float32", model)

    def on_one() -> None:
        model = net()
        mesh = dist.init_device_mesh("cpu", (2, 1), mesh_dim_names=("replicas", "shards"))
        fully_shard(model, mesh=mesh)
        under(summing, model)

    summing = recipe("float32").replace(reduction="float16")
    tries = {
        "scattered on one": on_one,
        "too late": too_late,
        "sharded after": sharded_after,
        "hooked": hooked,
        "policy": with_policy,
        "native": lambda: under("pure-bfloat16", laid_out(net(), "sharded"), emulate=False),
        "flat": lambda: under("float32", FullyShardedDataParallel(net(), device_id=torch.device("cpu"))),
        "nothing adds up": lambda: under(summing, net()),
    }  # fmt: skip
    return {name: said(attempt) for name, attempt in tries.items()}


def said(attempt: Any) -> str:
    try:
        attempt()
    except hu.HalfulpError as error:
        return str(error)
    return "nothing"


JOBS = (
    same_data, halves, plain, reductions, native_reduction, overflows, accumulated, rebuilt,
    refused,
)  # fmt: skip


def all_jobs(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {"alone": alone(rank)}
    joined(rank, folder, "store")
    for job in JOBS:
        begun = time.perf_counter()
        try:
            found[job.__name__] = job(rank)
        except Exception:
            found[job.__name__] = traceback.format_exc()
        found[job.__name__, "seconds"] = time.perf_counter() - begun
    torch.save(found, folder / f"rank-{rank}.pt")
    leave()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def work(folder: Path) -> None:
        assert ended(start(all_jobs, folder)) == [0, 0]

    folder = once(tmp_path_factory, "ranks", work)
    both = [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(2)]

    def of(job: str) -> list[Any]:
        assert not isinstance(both[0][job], str), both[0][job]
        assert not isinstance(both[1][job], str), both[1][job]
        return [each[job] for each in both]

    return of


def bits(x: torch.Tensor) -> Any:
    return x.view(torch.int32).tolist()


@pytest.mark.parametrize(("name", "layout", "emulate"), CASES)
def test_two_ranks_with_the_same_data_are_one_process(
    found: Any, name: str, layout: str, emulate: bool | None
) -> None:
    """The mean of two equal gradients is the gradient: the same bits as without ranks."""
    losses, expected = found("alone")[0][name, emulate]
    for each in found("same_data"):
        ours, ends, skipped = each[name, layout, emulate]
        assert skipped == 0
        if layout == "sharded" and (name in NATIVE or "stochastic" in name):
            continue  # below: one process computes natively there, or draws other bits
        assert ours == losses
        assert bits(ends) == bits(expected)


@pytest.mark.parametrize("name", NATIVE)
def test_shards_of_emulated_weights_are_one_process(found: Any, name: str) -> None:
    losses, expected = found("alone")[0][name, True]
    ours, ends, _ = found("same_data")[0][name, "sharded", None]
    if name == "bfloat16-stochastic":  # each shard draws its own bits
        assert ours[0] == losses[0]
        assert max(abs(a - b) for a, b in zip(ours, losses, strict=True)) < 0.05
    else:
        assert ours == losses
        assert bits(ends) == bits(expected)


@pytest.mark.parametrize(("name", "layout", "emulate"), CASES)
def test_replicas_stay_the_same(found: Any, name: str, layout: str, emulate: bool | None) -> None:
    """Each rank its own half of the batches: other losses, the same weights on both."""
    first, second = (each[name, layout, emulate] for each in found("halves"))
    assert bits(first[1]) == bits(second[1])
    assert first[0] != second[0]
    losses = [(a + b) / 2 for a, b in zip(first[0], second[0], strict=True)]
    expected = found("alone")[0][name, emulate][0]
    near = 1e-5 if name == "float32" else 0.1
    assert max(abs(a - b) for a, b in zip(losses, expected, strict=True)) < near


@pytest.mark.parametrize("layout", ["wrapped", "sharded"])
def test_float32_is_plain_torch_on_two_ranks(found: Any, layout: str) -> None:
    for ours, theirs in zip(found("halves"), found("plain"), strict=True):
        losses, ends, _ = ours["float32", layout, None]
        assert losses == theirs[layout][0]
        assert bits(ends) == bits(theirs[layout][1])


@pytest.mark.parametrize(("name", "layout", "target"), REDUCTIONS)
def test_gradients_are_rounded_before_and_after_they_are_added_up(
    found: Any, name: str, layout: str, target: str
) -> None:
    both = [each[name, layout, target] for each in found("reductions")]
    for apart, summed, loss in both:
        sent = [x.numpy() / np.float32(2) for x in apart]
        made = [hu.cast(x, target) for x in sent]
        expected = hu.cast(made[0] + made[1], target)
        if name == "mixed-bfloat16":
            expected = hu.cast(expected, "bfloat16")
        np.testing.assert_array_equal(summed.numpy(), expected)
        tallies = [hu.tally(x, target) for x in sent]
        assert loss.contributions == sum(np.count_nonzero(x) for x in sent)
        assert loss.changed == sum(int((a != b).sum()) for a, b in zip(sent, made, strict=True))
        assert loss.zeroed == sum(
            int(((a != 0) & (b == 0)).sum()) for a, b in zip(sent, made, strict=True)
        )
        assert loss.overflowed == sum(t.overflow for t in tallies)
    assert both[0][2] == both[1][2]
    assert both[0][2].changed > 0 or (name, target) == ("mixed-bfloat16", "float16")


def test_torchs_own_dtypes_are_added_up_in_a_format_too(found: Any) -> None:
    first, second = found("native_reduction")
    for emulate in (False, True):
        assert bits(first[emulate][0]) == bits(second[emulate][0])
        assert first[emulate][1] == second[emulate][1]
        assert first[emulate][1].changed > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_ranks_skip_what_overflows_on_one(found: Any, layout: str) -> None:
    first, second = (each[layout] for each in found("overflows"))
    assert first[0] == second[0] == [True, True, False, True, True, True]
    assert first[1] == second[1] == 2.0**15
    assert bits(first[2]) == bits(second[2])


@pytest.mark.parametrize("layout", ["wrapped", "sharded"])
def test_accumulated_and_clipped_gradients(found: Any, layout: str) -> None:
    for each in found("accumulated"):
        norms, ends = each["alone"]
        assert each[layout][0] == pytest.approx(norms, rel=1e-6)
        assert torch.allclose(each[layout][1], ends, atol=1e-3)
    first, second = found("accumulated")
    assert bits(first[layout][1]) == bits(second[layout][1])


def test_buckets_of_other_dtypes_keep_their_options_and_hooks(found: Any) -> None:
    first, second = found("rebuilt")
    assert first["calls"] >= 5
    for name in ("static", "views", "unused"):
        assert bits(first[name]) == bits(first["as it is"])
    for name in ("as it is", "hook"):
        assert bits(first[name]) == bits(second[name])


@pytest.mark.parametrize(
    ("done", "says"),
    [
        ("too late", "give prepare the DistributedDataParallel"),
        ("sharded after", "fully_shard was called after prepare"),
        ("hooked", "has a communication hook already"),
        ("policy", "MixedPrecisionPolicy"),
        ("native", "take emulate=True"),
        ("flat", "shard it with torch.distributed.fsdp.fully_shard"),
        ("nothing adds up", "Sequential adds up none"),
        ("scattered on one", "on a mesh of 2 × 1 nothing is"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(found: Any, done: str, says: str) -> None:
    for each in found("refused"):
        assert says in each[done]
        assert "\n" not in each[done]


# Stopping and going on.


class Normed(torch.nn.Sequential):
    """With statistics that each rank has its own of."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))


RESUMED = [
    ("bfloat16-kahan", "wrapped"), ("float8-hybrid", "wrapped"), ("mixed-float16", "sharded"),
    ("bfloat16-split", "sharded"), ("bfloat16-stochastic", "sharded"),
]  # fmt: skip


def normed() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = Wrapped(Normed(), broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return prepare(model, optimizer, "mixed-bfloat16"), model


def killed(rank: int, folder: Path) -> None:
    """Six steps of every training; then nothing but saving, without an end."""
    joined(rank, folder, "first")
    trainings = []
    for name, layout in RESUMED:
        prepared, model = training(name, layout, seed=3)
        trained(prepared, model, batches(3, rank))
        save(prepared, folder / f"{name} {layout}")
        trained(prepared, model, batches(6, rank)[3:])
        save(prepared, folder / f"{name} {layout}")
        trainings.append((prepared, folder / f"{name} {layout}"))
    prepared, model = normed()
    trained(prepared, model, batches(3, rank))
    save(prepared, folder / "normed")
    torch.save(model.state_dict(), folder / f"normed-{rank}.pt")
    (folder / f"saving-{rank}").touch()
    while True:
        for prepared, place in trainings:
            save(prepared, place)


def resumed(rank: int, folder: Path) -> None:
    joined(rank, folder, "second")
    found = {}
    for name, layout in RESUMED:
        never, model = training(name, layout, seed=3)
        expected = trained(never, model, batches(12, rank))
        prepared, model = training(name, layout, seed=99)
        assert load(prepared, folder / f"{name} {layout}")
        steps = prepared.steps
        losses = trained(prepared, model, batches(12, rank)[6:])
        found[name, layout] = steps, losses, expected[6:], weights(prepared), weights(never)
    prepared, model = normed()
    assert load(prepared, folder / "normed")
    found["normed"] = model.state_dict(), torch.load(folder / f"normed-{rank}.pt")
    prepared, _ = training("bfloat16-kahan", "sharded")
    found["whole"] = said(lambda: load(prepared, folder / "bfloat16-kahan wrapped"))
    prepared, _ = training("float32", "wrapped")
    found["none yet"] = load(prepared, folder / "not there")
    (folder / "a file").touch()
    found["refused"] = said(lambda: save(prepared, folder / "a file" / "checkpoints"))
    found["other recipe"] = said(lambda: load(prepared, folder / "bfloat16-kahan wrapped"))
    torch.save(found, folder / f"resumed-{rank}.pt")
    leave()


def kill_and_resume(folder: Path) -> None:
    processes = start(killed, folder)
    deadline = time.monotonic() + 120
    saving = [folder / f"saving-{rank}" for rank in range(2)]
    while not (all(path.exists() for path in saving) and list(folder.glob("*/.partial-*"))):
        assert all(process.is_alive() for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.001)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    assert ended(processes) == [-signal.SIGKILL] * 2
    assert ended(start(resumed, folder)) == [0, 0]


@pytest.fixture(scope="module")
def after_the_kill(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both processes are killed while they save, and two others go on."""
    folder = once(tmp_path_factory, "killed", kill_and_resume)
    return folder, [torch.load(folder / f"resumed-{r}.pt", weights_only=False) for r in range(2)]


@pytest.mark.parametrize(("name", "layout"), RESUMED)
def test_killed_while_saving_and_resumed_has_the_same_bits(
    after_the_kill: Any, name: str, layout: str
) -> None:
    for each in after_the_kill[1]:
        steps, losses, expected, ends, never = each[name, layout]
        assert steps == 6
        assert losses == expected
        assert bits(ends) == bits(never)


def test_checkpoints_are_found_refused_or_not_there(after_the_kill: Any) -> None:
    for each in after_the_kill[1]:
        assert each["none yet"] is False
        assert "no checkpoint can be kept" in each["refused"]
        assert "recipe bfloat16-kahan" in each["other recipe"]
        assert "the checkpoint is of whole weights" in each["whole"]


def test_each_ranks_own_buffers_come_back(after_the_kill: Any) -> None:
    means = []
    for each in after_the_kill[1]:
        ours, before = each["normed"]
        assert all(torch.equal(ours[name], x) for name, x in before.items())
        means.append(ours["module.1.running_mean"])
    assert not torch.equal(*means)


@pytest.mark.parametrize(("name", "layout"), RESUMED)
def test_one_process_goes_on_from_two(after_the_kill: Any, name: str, layout: str) -> None:
    """Whole weights are put together from both ranks' parts."""
    emulate = True if layout == "sharded" else None  # as it was
    prepared, model = training(name, "alone", emulate, seed=0)
    assert load(prepared, after_the_kill[0] / f"{name} {layout}")
    assert prepared.steps == 6
    assert all(np.isfinite(trained(prepared, model, batches(2, None))))
