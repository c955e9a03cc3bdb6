"""What tests share: one Hypothesis profile, the same examples in every run."""

import os

import pytest
from hypothesis import settings

# Before torch is imported: its threads spin while they wait, for ever where workers share the cores,
# and a hundred small operations on two threads take longer than on one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What the command line prints must not depend on the machine's language.
os.environ["LANGUAGE"] = "en"

pytest.register_assert_rewrite("browser")  # its fixtures assert, too

settings.register_profile("halfulp", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("halfulp")
