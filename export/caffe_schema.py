"""The part of Caffe's caffe.proto that holds a net's layers and weights, with its field numbers, for protobuf to read.

Where Caffe says `string` or packed `float` it says `bytes`, which is the same on the wire: no text of a foreign file
has to be UTF-8, and sixty million weights are not turned into Python numbers.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Message -> field -> (number, type); a type in capitals is one of the messages here, `*` marks a repeated field.
SCHEMA: dict[str, dict[str, tuple[int, str]]] = {
    "BlobShape": {"dim": (1, "int64*")},
    "BlobProto": {
        "num": (1, "int64"),
        "channels": (2, "int64"),
        "height": (3, "int64"),
        "width": (4, "int64"),
        "data": (5, "bytes*"),
        "shape": (7, "BlobShape"),
        "double_data": (8, "bytes*"),
    },
    "ConvolutionParameter": {
        "bias_term": (2, "bool"),
        "pad": (3, "uint64*"),
        "kernel_size": (4, "uint64*"),
        "group": (5, "uint64"),
        "stride": (6, "uint64*"),
        "pad_h": (9, "uint64"),
        "pad_w": (10, "uint64"),
        "kernel_h": (11, "uint64"),
        "kernel_w": (12, "uint64"),
        "stride_h": (13, "uint64"),
        "stride_w": (14, "uint64"),
        "dilation": (18, "uint64*"),
    },
    "PoolingParameter": {
        "pool": (1, "int32"),
        "kernel_size": (2, "uint64*"),
        "stride": (3, "uint64*"),
        "pad": (4, "uint64*"),
        "kernel_h": (5, "uint64"),
        "kernel_w": (6, "uint64"),
        "stride_h": (7, "uint64"),
        "stride_w": (8, "uint64"),
        "pad_h": (9, "uint64"),
        "pad_w": (10, "uint64"),
        "global_pooling": (12, "bool"),
    },
    "LRNParameter": {
        "local_size": (1, "uint64"),
        "alpha": (2, "float"),
        "beta": (3, "float"),
        "norm_region": (4, "int32"),
        "k": (5, "float"),
    },
    "DropoutParameter": {"dropout_ratio": (1, "float")},
    "ReLUParameter": {"negative_slope": (1, "float")},
    "InnerProductParameter": {"bias_term": (2, "bool"), "transpose": (6, "bool")},
    "LayerParameter": {
        "name": (1, "bytes"),
        "type": (2, "bytes"),
        "blobs": (7, "BlobProto*"),
        "convolution_param": (106, "ConvolutionParameter"),
        "dropout_param": (108, "DropoutParameter"),
        "inner_product_param": (117, "InnerProductParameter"),
        "lrn_param": (118, "LRNParameter"),
        "pooling_param": (121, "PoolingParameter"),
        "relu_param": (123, "ReLUParameter"),
    },
    "V1LayerParameter": {
        "layer": (1, "bytes"),
        "name": (4, "bytes"),
        "type": (5, "int32"),
        "blobs": (6, "BlobProto*"),
        "convolution_param": (10, "ConvolutionParameter"),
        "dropout_param": (12, "DropoutParameter"),
        "inner_product_param": (17, "InnerProductParameter"),
        "lrn_param": (18, "LRNParameter"),
        "pooling_param": (19, "PoolingParameter"),
        "relu_param": (30, "ReLUParameter"),
    },
    "NetParameter": {"name": (1, "bytes"), "layers": (2, "V1LayerParameter*"), "layer": (100, "LayerParameter*")},
}

# Caffe's defaults of the numbers that are read here, where they are not zero.
DEFAULTS: dict[tuple[str, str], str] = {
    ("ConvolutionParameter", "bias_term"): "true",
    ("ConvolutionParameter", "group"): "1",
    ("LRNParameter", "local_size"): "5",
    ("LRNParameter", "alpha"): "1",
    ("LRNParameter", "beta"): "0.75",
    ("LRNParameter", "k"): "1",
    ("DropoutParameter", "dropout_ratio"): "0.5",
    ("InnerProductParameter", "bias_term"): "true",
}

# The numbers by which V1LayerParameter calls the types that LayerParameter names.
V1_TYPES = {
    1: "Accuracy",
    4: "Convolution",
    5: "Data",
    6: "Dropout",
    9: "HDF5Data",
    12: "ImageData",
    14: "InnerProduct",
    15: "LRN",
    17: "Pooling",
    18: "ReLU",
    20: "Softmax",
    21: "SoftmaxWithLoss",
    22: "Split",
    24: "WindowData",
    29: "MemoryData",
    32: "DummyData",
    36: "Silence",
}


@functools.cache
def messages() -> dict[str, Any]:
    """Return the message classes of SCHEMA, in a descriptor pool of their own."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe_part.proto", package="caffe", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            repeated, kind = kind.endswith("*"), kind.rstrip("*")
            entry = message.field.add(name=field_name, number=number)
            entry.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            entry.type = kinds.TYPE_MESSAGE if kind in SCHEMA else getattr(kinds, f"TYPE_{kind.upper()}")
            if kind in SCHEMA:
                entry.type_name = f".caffe.{kind}"
            if (name, field_name) in DEFAULTS:
                entry.default_value = DEFAULTS[name, field_name]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in SCHEMA}
