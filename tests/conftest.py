"""What tests share: one Hypothesis profile, the same examples in every run."""

import os

from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # torch's threads spin while they wait, and wait for ever where workers share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("halfulp", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("halfulp")
