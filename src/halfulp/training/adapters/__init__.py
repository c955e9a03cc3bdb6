"""Watching in the trainers of others: one callback each, given to their Trainer."""
