"""The tutorial, executed anew: as ``make tutorial`` writes it, and as a test compares it."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

PATH = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"
SECONDS = 300  # a cell, on a machine that is busy otherwise
# What a kernel knows and a file does not.
LIVE = ("application/vnd.jupyter.widget-view+json",)


def read() -> Any:
    """The notebook as it is kept."""
    return nbformat.read(PATH, as_version=4)


def executed(notebook: Any) -> Any:
    """The notebook with the outputs it has now, and nothing that differs from run to run."""
    made = copy.deepcopy(notebook)
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for i, cell in enumerate(made.cells, start=1):
        cell.id, cell.metadata = f"cell-{i:02}", {}
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["LANGUAGE"] = "en"
    client = NotebookClient(
        made, timeout=SECONDS, kernel_name="python3", record_timing=False, store_widget_state=False,
        resources={"metadata": {"path": str(PATH.parent)}},
    )  # fmt: skip
    client.execute()
    made.metadata.language_info = {"name": "python"}
    for cell in made.cells:
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            _still(output)
    return made


def _still(output: Any) -> None:
    """Leave out what only a kernel could fill."""
    for kind in LIVE:
        output.get("data", {}).pop(kind, None)
        output.get("metadata", {}).pop(kind, None)


def main() -> None:
    """Execute it and write it."""
    nbformat.write(executed(read()), PATH)
    sys.stdout.write(f"{PATH.name}: {PATH.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
