"""`alexnet serve`: models over HTTP and gRPC, by the Open Inference Protocol v2, in dynamic batches and bounds."""
