"""What tests share: one Hypothesis profile, the same examples in every run."""

import os

from hypothesis import settings

# Before torch is imported: its threads spin while they wait, for ever where workers share the cores,
# and a hundred small operations on two threads take longer than on one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("halfulp", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("halfulp")
