"""What tests share: one Hypothesis profile, the same examples in every run."""

from hypothesis import settings

settings.register_profile("halfulp", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("halfulp")
