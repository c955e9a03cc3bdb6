"""Hugging Face's Trainer: ``Trainer(..., callbacks=[WatchCallback(log="run.db")])``."""

from __future__ import annotations

from typing import Any

from halfulp.errors import HalfulpError
from halfulp.training.watching.watcher import Watch, watch

try:
    from transformers import TrainerCallback
except ModuleNotFoundError:
    raise HalfulpError(
        "halfulp.training.adapters.huggingface needs transformers, which is not installed: "
        "pip install transformers accelerate"
    ) from None


class WatchCallback(TrainerCallback):
    """Watches what a Trainer trains; options are those of :func:`halfulp.training.watch`.

    What is watched is the Trainer's own optimizer, and its GradScaler where it has one.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.watcher: Watch | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None,
        **_: Any,
    ) -> None:  # fmt: skip
        """Begin to watch."""
        scaler = getattr(optimizer, "scaler", None)  # Accelerate's wrapper has both
        self.watcher = watch(model, getattr(optimizer, "optimizer", optimizer), scaler,
                             **self._options)  # fmt: skip

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write what is left."""
        if self.watcher is not None:
            self.watcher.close()
