"""Watching inside the trainers of others, as they are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from halfulp.runs.reading import Run, read_run
from halfulp.runs.samples import Way

ROLES = {"weight", "gradient", "activation", "activation gradient", "state exp_avg"}


def seen(run: Run) -> set[str]:
    return {series.role for series in run.series}


def hugging_face(folder: Path, callbacks: list[Any], **options: Any) -> list[Tensor]:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(config)
    data = [{"input_ids": (row := torch.randint(0, 64, (16,))), "labels": row} for _ in range(48)]
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=4, max_steps=6, report_to=[],
        use_cpu=True, logging_steps=100, save_strategy="no", disable_tqdm=True, max_grad_norm=0.1,
        **options,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=callbacks)
    trainer.train()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_accumulation_steps": 2}, {"bf16": True}, {"gradient_checkpointing": True}],
)
def test_hugging_faces_trainer_is_watched_and_keeps_its_bits(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    from halfulp.training.adapters.huggingface import WatchCallback

    log = tmp_path / "run.db"
    plain = hugging_face(tmp_path, [], **options)
    callback = WatchCallback(every=2, log=log)
    watched = hugging_face(tmp_path, [callback], **options)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert callback.watcher is not None
    assert callback.watcher.failure is None
    run = read_run(log)
    assert run.steps() == [0, 2, 4]
    assert seen(run) >= ROLES | {"clipped gradient"}
    assert run.about.name == "GPT2LMHeadModel"
    assert run.updates(4).updates.sum() > 0


@pytest.mark.parametrize("calls_itself", [True, False])
def test_lightnings_trainer_is_watched_and_keeps_its_bits(
    tmp_path: Path, calls_itself: bool
) -> None:
    import lightning.pytorch as pl

    from halfulp.training.adapters.lightning import WatchCallback

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: Any, index: int) -> Tensor:
            x, y = batch
            return ((self if calls_itself else self.net)(x) - y).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def trained(callbacks: list[Any]) -> list[Tensor]:
        torch.manual_seed(0)
        module, data = Module(), TensorDataset(torch.randn(40, 8), torch.randn(40, 1))
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=callbacks, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, DataLoader(data, batch_size=4))
        return [p.detach().clone() for p in module.parameters()]

    log = tmp_path / "run.db"
    callback = WatchCallback(every=5, log=log)
    plain, watched = trained([]), trained([callback])
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    run = read_run(log)
    assert run.steps() == [0, 5]
    assert seen(run) >= ROLES
    assert Way("float32", "nearest") == run.about.ways[int(run.updates(5).running[0])]
