"""L3: watched trainings as they are kept: what was seen, where it is written, what it means.

Nothing here needs torch: a run is read on any machine, also while it goes on.
"""
