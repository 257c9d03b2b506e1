"""The proof of parity: the ONNX model in ONNX Runtime against the training model, on real pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from alexnet.errors import ParityError, missing_package
from alexnet.metadata import INPUT, OUTPUT
from alexnet.ops import register
from alexnet.parity import Comparison, compare

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Batches that the proof runs beside the largest: one picture, an even and an odd number.
BATCHES = (1, 2, 7)
# The largest batch: 320 crops of the paper's network take 3 to 5 GB. A run keeps this many samples.
LARGEST = 32


def prove(model: onnx.ModelProto, pictures: Pixels, expected: Floats, names: list[str], tolerance: float) -> Comparison:
    """Check the model's form, run it at several batch sizes, and return its comparison with `expected`.

    `pictures` is uint8 [P, S, S, 3]; `expected` the training model's probabilities [P, classes]. The comparison
    is that of all pictures, its largest difference that of the worst batch size. Raises ParityError, saying by how
    much and on which picture, when any probability differs by more than `tolerance`.
    """
    onnx.checker.check_model(model, full_check=True)
    try:
        import onnxruntime
    except ImportError:
        raise missing_package("onnxruntime", "cpu", "the proof of parity") from None
    options = onnxruntime.SessionOptions()
    register(options, model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    number = len(names)
    results = []
    sizes = sorted({min(size, number) for size in (*BATCHES, LARGEST)})
    for batch in sizes:
        # The largest size sees every picture; smaller ones the first, in two rounds: more adds time, not proof.
        seen = number if batch == sizes[-1] else min(number, 2 * batch)
        answers = [
            session.run([OUTPUT], {INPUT: pictures[first : min(first + batch, seen)]})[0]
            for first in range(0, seen, batch)
        ]
        results.append(compare(expected[:seen], np.concatenate(answers), names[:seen]))
    worst = max(results, key=lambda result: result.largest)
    if not worst.largest <= tolerance:
        raise ParityError(
            f"the ONNX model differs from the training model by {worst.largest:.2g} in a probability of "
            f"{worst.worst}, expected at most {tolerance:g} ({worst.top1:.1%} of {worst.pictures} pictures keep their "
            "best class); nothing was written: report this with the run's recipe.toml"
        )
    return replace(results[-1], largest=worst.largest, worst=worst.worst)
