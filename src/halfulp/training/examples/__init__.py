"""Trainings that are small and real, for ``halfulp compare`` and ``halfulp demo``."""
