"""Calibration: a float32 ONNX model into INT8 or FP8 with explicit Q/DQ, its accuracy known before it is written."""
