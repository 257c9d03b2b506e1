"""The benchmark: every backend that is present for a model, timed in turns, with what bounds it and how it agrees."""
