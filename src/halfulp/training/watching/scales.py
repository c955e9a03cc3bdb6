"""The loss scale of a training, whoever keeps it."""

from __future__ import annotations

from typing import Any

from halfulp.errors import HalfulpError
from halfulp.training.prepared import Prepared


class Scale:
    """The loss scale: of a GradScaler, of a prepared training, or none.

    Raises HalfulpError for a scaler that cannot be asked.
    """

    def __init__(self, scaler: Any, prepared: Prepared | None) -> None:
        self._scaler, self._prepared = scaler, prepared
        if scaler is not None and not callable(getattr(scaler, "get_scale", None)):
            raise HalfulpError(
                f"scaler is a {type(scaler).__name__}: give a torch.amp.GradScaler, or None"
            )
        self._skipped = self._skips()
        self._last = self.now

    @property
    def is_used(self) -> bool:
        """Whether the loss is scaled at all."""
        if self._prepared is not None:
            return self._prepared.recipe.loss_scale.is_used
        return self._scaler is not None and bool(getattr(self._scaler, "is_enabled", bool)())

    @property
    def now(self) -> float:
        """The factor of the loss; 1 where there is none."""
        if self._prepared is not None:
            return self._prepared.scale
        return float(self._scaler.get_scale()) if self.is_used else 1.0

    def moved(self) -> tuple[float, float, bool] | None:
        """The scale before and now, and whether a step was skipped; None where nothing happened.

        To be asked once between two steps.
        """
        before, self._last = self._last, self.now
        skips, self._skipped = self._skipped, self._skips()
        skipped = self._skipped > skips if self._prepared is not None else self._last < before
        return (before, self._last, skipped) if skipped or self._last != before else None

    def _skips(self) -> int:
        return self._prepared.skipped if self._prepared is not None else 0
