"""Inference by many workers of a Ray cluster: `alexnet infer --ray` (extra `ray`)."""
