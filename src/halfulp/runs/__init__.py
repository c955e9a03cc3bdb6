"""L3: watched trainings as they are kept: what was seen, where it is written, what it means.

Nothing here needs torch: a run is read on any machine, also while it goes on.
"""

from halfulp.runs.reading import Run, read_run
from halfulp.runs.scale_window import windows
from halfulp.runs.verdicts import findings

__all__ = ["Run", "findings", "read_run", "windows"]
