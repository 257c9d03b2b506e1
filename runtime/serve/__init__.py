"""`alexnet serve`: models over HTTP, by the Open Inference Protocol v2, in dynamic batches and bounded memory."""
