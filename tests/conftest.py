"""What tests share: which of them need an extra, and a fixed Hypothesis profile."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Tests of these files need torch, plotly or scikit-learn: `make core` leaves them out by their mark.
EXTRAS = {"test_training.py", "test_report.py", "test_demo.py", "test_article.py", "test_peers.py"}

settings.register_profile("halfulp", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("halfulp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).name in EXTRAS:
            item.add_marker(pytest.mark.extra)
