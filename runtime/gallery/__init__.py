"""`alexnet gallery`: a local page on which pictures are dropped, and what a model answers for them."""
