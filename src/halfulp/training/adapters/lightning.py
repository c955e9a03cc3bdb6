"""Lightning: ``Trainer(..., callbacks=[WatchCallback(log="run.db")])``."""

from __future__ import annotations

from typing import Any

from halfulp.errors import HalfulpError
from halfulp.training.watching.watcher import Watch, watch

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    raise HalfulpError(
        "halfulp.training.adapters.lightning needs lightning, which is not installed: "
        "pip install lightning"
    ) from None


class WatchCallback(Callback):
    """Watches what a Trainer fits; options are those of :func:`halfulp.training.watch`.

    What is watched is the one optimizer, and the GradScaler of the precision plugin, if it has one.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.watcher: Watch | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch."""
        if len(trainer.optimizers) != 1:
            raise HalfulpError(
                f"the module has {len(trainer.optimizers)} optimizers: watch each with "
                "halfulp.training.watch, and the part of the model that it updates"
            )
        optimizer = trainer.optimizers[0]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.watcher = watch(pl_module, getattr(optimizer, "optimizer", optimizer), scaler,
                             **self._options)  # fmt: skip

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, index: int) -> None:
        """A training_step need not call the module itself."""
        if self.watcher is not None:
            self.watcher.begin()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write what is left."""
        if self.watcher is not None:
            self.watcher.close()
