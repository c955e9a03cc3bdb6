"""What watching costs a training, as ratios to the plain step; and what others' monitors cost.

The model is a GPT of 4 layers, width 256, on batches of 16 × 64 characters, with torch's AdamW.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import seconds
from halfulp.training import watch
from halfulp.training.examples.gpt import build

SHAPE: dict[str, Any] = {"width": 256, "layers": 4, "heads": 4, "context": 64, "batch": 16}
PAIRS = 15


class Training:
    """A plain training, step by step."""

    def __init__(self, scaled: bool = False) -> None:
        torch.manual_seed(0)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=scaled)
        self.made = build(0, **SHAPE)
        self.inputs, self.targets = next(iter(self.made.batches))

    def step(self) -> None:
        """One of it."""
        made = self.made
        made.optimizer.zero_grad()
        loss = made.loss(made.model(self.inputs), self.targets)
        self.scaler.scale(loss).backward()
        self.scaler.step(made.optimizer)
        self.scaler.update()

    def watch(self, **options: Any) -> Any:
        """A watch on it."""
        return watch(self.made.model, self.made.optimizer, self.scaler, **options)


def ratio(work: Callable[[], Any], base: Callable[[], Any], pairs: int = PAIRS) -> float:
    """The median of pairs, each second one in the other order: the first takes longer."""
    for warm in (work, base, work, base):
        warm()
    found = []
    for i in range(pairs):
        order = (work, base) if i % 2 else (base, work)
        took = {step: seconds(step) for step in order}
        found.append(took[work] / took[base])
    return statistics.median(found)


def test_sampled_step(benchmark: Any, tmp_path: Path) -> None:
    plain, watched = Training(), Training()
    with watched.watch(every=1, log=tmp_path / "run.db") as watcher:
        found = ratio(watched.step, plain.step)
        benchmark.pedantic(watched.step, rounds=3)
        assert watcher.failure is None
    print(f"\n  a sampled step: {found:.2f} × the plain one")


@pytest.mark.parametrize("scaled", [False, True])
def test_steps_between(benchmark: Any, tmp_path: Path, scaled: bool) -> None:
    plain, watched = Training(scaled), Training(scaled)
    with watched.watch(every=10**6, log=tmp_path / "run.db"):
        found = ratio(watched.step, plain.step, 80)
        benchmark.pedantic(watched.step, rounds=3)
    print(f"\n  a step between samples{with_scaler(scaled)}: {found:.4f} × the plain one")


@pytest.mark.parametrize("scaled", [False, True])
def test_every_100(benchmark: Any, tmp_path: Path, scaled: bool) -> None:
    """Hundreds of steps each, in turns of 100, so that the machine's moods meet both."""
    plain, watched = Training(scaled), Training(scaled)

    def hundred(training: Training) -> float:
        return seconds(lambda: [training.step() for _ in range(100)])

    with watched.watch(every=100, log=tmp_path / "run.db") as watcher:
        watched.step()
        plain.step()
        pairs = []
        for i in range(6):
            first = hundred(watched) if i % 2 else None
            base = hundred(plain)
            pairs.append((first or hundred(watched), base))
        assert watcher.failure is None
        benchmark.pedantic(watched.step, rounds=3)
    found = sum(ours for ours, _ in pairs) / sum(base for _, base in pairs)
    told = ", ".join(f"{ours / base:.3f}" for ours, base in pairs)
    print(f"\n  every=100{with_scaler(scaled)}: {found:.3f} × the mean plain step ({told})")


def with_scaler(scaled: bool) -> str:
    return ", with a GradScaler" if scaled else ""


def hugging_face(made: Any) -> None:
    from transformers.debug_utils import DebugUnderflowOverflow

    DebugUnderflowOverflow(made.model, max_frames_to_save=21)


def wandb(made: Any) -> None:
    os.environ["WANDB_MODE"], os.environ["WANDB_SILENT"] = "offline", "true"
    import wandb

    run = wandb.init(project="bench", dir=os.environ.get("TMPDIR", "/tmp"))
    run.watch(made.model, log="all", log_freq=1)
    made.optimizer.register_step_post_hook(lambda *_: run.log({"step": 1}))


@pytest.mark.parametrize("peer", [hugging_face, wandb])
def test_peers(benchmark: Any, peer: Callable[[Any], None]) -> None:
    """Each step watched: what activations hold (Hugging Face), or gradients and weights (wandb)."""
    plain, watched = Training(), Training()
    peer(watched.made)
    found = ratio(watched.step, plain.step)
    benchmark.pedantic(watched.step, rounds=3)
    print(f"\n  {peer.__name__}, each step: {found:.2f} × the plain one")


MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_watching import Training
from halfulp.training import watch
training = Training()
for _ in range(3):
    training.step()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
watched = sys.argv[2] == "watched"
if watched:  # the kernels, which are compiled once
    import torch
    small = torch.nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(small.parameters())
    with watch(small, optimizer, every=1):
        small(torch.ones(2, 4)).sum().backward()
        optimizer.step()
before = peak()
with watch(training.made.model, training.made.optimizer, every=1, enabled=watched, log=sys.argv[3]):
    for _ in range(5):
        training.step()
print(peak() - before)
"""


def test_memory(benchmark: Any, tmp_path: Path) -> None:
    def grown(how: str) -> float:
        here = str(Path(__file__).parent)
        given = [sys.executable, "-c", MEMORY, here, how, str(tmp_path / f"{how}.db")]
        return float(subprocess.run(given, capture_output=True, text=True, check=True).stdout)

    plain, watched = grown("plain"), grown("watched")
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\n  resident memory at its peak: {watched:.0f} MiB more (plain {plain:.0f} MiB more)")
