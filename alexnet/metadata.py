"""What a model file says of itself: the schema of the ONNX metadata and of the sidecar beside a plan.

One dataclass holds everything that inference needs to treat pictures as training did and to name what
it answers: the labels, the preprocessing, the digest of the mean, where the weights came from and how
far the export was from the training model. In ONNX it stands in `metadata_props`, one property `alexnet`
of JSON and a few plain ones to read in a viewer; beside a plan it is part of `model.plan.json`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.errors import ModelError
from alexnet.pictures import Preprocessing

FORMAT = 1
PROPERTY = "alexnet"
# The names of every exported model's input and output.
INPUT, OUTPUT = "pictures", "probabilities"


@dataclass(frozen=True)
class ModelMetadata:
    """Facts of one exported model.

    `labels` are the class names in the order of the outputs; `crop` is in pixels and `crops` their number;
    `input` is `pixels` (uint8 [N, S, S, 3]) or `float` (float32 [N, 3, S, S] of the same values 0..255);
    `mean_sha256` is the digest of the mean image's float32 bytes [S, S, 3]; `recipe` the resolved recipe as
    nested values; `checkpoint_sha256` the digest of the checkpoint's weights file; `lrn` the lowering, `stem`
    whether the crops share conv1, and `precision` the type of the arithmetic; `parity` the figures of the proof,
    empty before it has run. `batch` is the number of pictures where it is fixed, None where it is dynamic;
    `members` the checkpoints' digests of an ensemble, whose own digest is that of theirs, empty for one network.
    `calibration` says how a quantised model was made (`alexnet.calibration`), empty for any other.
    """

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    crop: int
    crops: int
    input: str
    mean_sha256: str
    recipe: dict[str, Any]
    checkpoint_sha256: str
    toolchain_version: str
    lrn: str
    stem: str
    precision: str
    parity: dict[str, Any]
    batch: int | None = None
    members: tuple[str, ...] = ()
    calibration: dict[str, Any] = field(default_factory=dict)

    def fed(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return pictures uint8 [N, S, S, 3] as the model's `input` takes them: as they are, or as float planes."""
        if self.input == "pixels":
            return pictures
        return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32)

    def to_values(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, with the format's number."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        values["labels"] = list(self.labels)
        values["members"] = list(self.members)
        values["preprocessing"] = self.preprocessing.to_values()
        return {"format": FORMAT, **values}

    def to_properties(self) -> dict[str, str]:
        """Return what goes into an ONNX model's metadata_props."""
        values = self.to_values()
        plain = (
            "name",
            "crop",
            "crops",
            "input",
            "mean_sha256",
            "checkpoint_sha256",
            "toolchain_version",
            "lrn",
            "stem",
            "precision",
        )
        return {
            PROPERTY: json.dumps(values, ensure_ascii=False, sort_keys=True),
            "labels": json.dumps(values["labels"], ensure_ascii=False),
            "preprocessing": json.dumps(values["preprocessing"]),
            "parity": json.dumps(values["parity"]),
            **{key: str(values[key]) for key in plain},
        }

    @staticmethod
    def from_values(values: Any, where: str) -> ModelMetadata:
        """Return the metadata in `values`; ModelError, naming the file `where`, when it is not ours."""
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise ModelError(
                f"{where} has metadata of format {found!r}, this version reads {FORMAT}; "
                "export the model again with: alexnet export --onnx"
            )
        try:
            return ModelMetadata(
                name=str(values["name"]),
                labels=tuple(str(label) for label in values["labels"]),
                preprocessing=Preprocessing.from_values(values["preprocessing"]),
                crop=int(values["crop"]),
                crops=int(values["crops"]),
                input=str(values["input"]),
                mean_sha256=str(values["mean_sha256"]),
                recipe=dict(values["recipe"]),
                checkpoint_sha256=str(values["checkpoint_sha256"]),
                toolchain_version=str(values["toolchain_version"]),
                lrn=str(values["lrn"]),
                stem=str(values["stem"]),
                precision=str(values["precision"]),
                parity=dict(values["parity"]),
                batch=None if values["batch"] is None else int(values["batch"]),
                members=tuple(str(digest) for digest in values["members"]),
                calibration=dict(values.get("calibration", {})),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{where} has incomplete metadata ({type(error).__name__}: {error}); "
                "export the model again with: alexnet export --onnx"
            ) from None

    @staticmethod
    def from_properties(properties: dict[str, str], where: str) -> ModelMetadata:
        """Return the metadata in an ONNX model's metadata_props; ModelError when the model is another's."""
        if PROPERTY not in properties:
            raise ModelError(
                f"{where} is an ONNX model without this toolchain's metadata, so its labels and preprocessing "
                "are unknown; give a model made by: alexnet export --onnx"
            )
        try:
            values = json.loads(properties[PROPERTY])
        except (json.JSONDecodeError, RecursionError) as error:
            raise ModelError(f"{where} has damaged metadata: {error}; export the model again") from None
        return ModelMetadata.from_values(values, where)
