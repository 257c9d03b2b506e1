"""The proof of parity: the ONNX model in ONNX Runtime against the training model, on real pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from alexnet.errors import ParityError, missing_package
from alexnet.export.ten_crops import INPUT, OUTPUT
from alexnet.parity import Comparison, compare

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Batches that the proof runs beside the whole set: one picture, an even and an odd number.
BATCHES = (1, 2, 7)


def prove(model: onnx.ModelProto, pictures: Pixels, expected: Floats, names: list[str], tolerance: float) -> Comparison:
    """Check the model's form, run it at several batch sizes, and return its comparison with `expected`.

    `pictures` is uint8 [P, S, S, 3]; `expected` the training model's probabilities [P, classes]. The comparison
    is the worst of all batch sizes. Raises ParityError, saying by how much and on which picture, when any
    probability differs by more than `tolerance`.
    """
    onnx.checker.check_model(model, full_check=True)
    try:
        import onnxruntime
    except ImportError:
        raise missing_package("onnxruntime", "cpu", "the proof of parity") from None
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    number = len(names)
    results = []
    for batch in sorted({min(size, number) for size in (*BATCHES, number)}):
        # Sizes below the whole set see its first pictures, two rounds at most: the rest adds time, not proof.
        seen = number if batch == number else min(number, 2 * batch)
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
    return next(result for result in results if result.pictures == number) if worst.pictures != number else worst
