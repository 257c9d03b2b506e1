"""Retrieval by the last hidden layer: an index of pictures on disk, and what searches it, without torch."""
