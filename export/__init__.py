"""Export: the torch network as ONNX with proof of parity, and ONNX as a TensorRT engine."""
