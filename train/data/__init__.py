"""Data sets: the embedded pictures, folders of pictures, and their statistics."""
