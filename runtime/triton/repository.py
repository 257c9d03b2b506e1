"""A folder that Triton serves: for each model NAME/config.pbtxt, NAME/labels.txt, and the model's files in NAME/1.

What stands in the configuration is read from the models, never asked for. Plans of one ONNX model become one Triton
model with a file for each compute capability.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alexnet.errors import InputError, ModelError, SidecarError, printable
from alexnet.external import check_external_data, load_model
from alexnet.files import atomic_folder, require_file, sha256_of
from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.runtime.backends.onnx_file import read_onnx
from alexnet.runtime.classify import DEFAULT_BATCH
from alexnet.runtime.triton.config import LABELS, Batching, ModelConfig
from alexnet.sidecar import Profile, Sidecar, sidecar_beside

VERSION = "1"
ONNX, PLAN = "model.onnx", "model.plan"
# What a model's folder may be called: it stands in Triton's addresses.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RepositoryOptions:
    """The most pictures in a batch (None for the plan's most, and 32 for ONNX), the longest wait, copies a device."""

    max_batch: int | None = None
    queue_delay: int = 2000
    instances: int = 1


@dataclass(frozen=True)
class Packed:
    """A model as it goes into the repository: its configuration, and the files of its version folder.

    `files` is name -> (source, SHA-256 of its bytes).
    """

    config: ModelConfig
    files: dict[str, tuple[Path, str]] = field(default_factory=dict)


def package_triton(
    models: Sequence[Path], folder: Path, options: RepositoryOptions, say: Callable[[str], None]
) -> list[Packed]:
    """Write a model repository to `folder`, which must be absent or empty, and return what stands in it.

    `say` is told what Triton needs beyond the folder. Raises InputError for a folder that is not empty and for names
    that Triton cannot take or that clash, ModelError and SidecarError for a model that Triton could not serve or that
    is not what its sidecar says. Nothing is written then.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; give a new folder, or remove it first")
    packed = [_packed_onnx(path, options) for path in models if _suffix(path) == ".onnx"]
    packed += [_packed_plans(plans, options, say) for plans in _by_model([p for p in models if _suffix(p) != ".onnx"])]
    names = [model.config.name for model in packed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"two models would be called {twice[0]!r} in Triton; rename one of the files")
    with atomic_folder(folder) as whole:
        for model in packed:
            _write(model, whole / model.config.name)
    return packed


def _suffix(path: Path) -> str:
    """Return a model's suffix; InputError for a missing file, ModelError for a kind that is not packaged."""
    require_file(path, "write one with: alexnet export --onnx, or alexnet build model.onnx")
    suffix = path.suffix.lower()
    if suffix not in (".onnx", ".plan", ".engine"):
        raise ModelError(f"{path} is no model by its suffix, expected .onnx, .plan or .engine")
    return suffix


def _packed_onnx(path: Path, options: RepositoryOptions) -> Packed:
    """Return an ONNX model with its external data."""
    digest = sha256_of(path)
    metadata = read_onnx(path).metadata
    _check_served(path, metadata, options)
    files = {ONNX: (path, digest)}
    for data in check_external_data(load_model(path), path):
        if data.name == ONNX:
            raise ModelError(f"{path} keeps weights in {data.name}, the name of the model in Triton; export it again")
        files[data.name] = (data, sha256_of(data))
    largest = options.max_batch or 32
    profile = Profile(1, min(DEFAULT_BATCH, largest), largest)
    config = ModelConfig(
        name=_name(path.stem, path),
        suffix=".onnx",
        metadata=metadata,
        input=INPUT,
        output=OUTPUT,
        batching=_batching([profile], options),
        instances=options.instances,
        file=ONNX,
    )
    return Packed(config, files)


def _by_model(plans: list[Path]) -> list[list[tuple[Path, Sidecar]]]:
    """Return the plans with their sidecars, those of one ONNX model together."""
    found: dict[str, list[tuple[Path, Sidecar]]] = {}
    for plan in plans:
        sidecar = Sidecar.load(plan)
        found.setdefault(sidecar.onnx_sha256, []).append((plan, sidecar))
    return list(found.values())


def _packed_plans(plans: list[tuple[Path, Sidecar]], options: RepositoryOptions, say: Callable[[str], None]) -> Packed:
    """Return the plans of one ONNX model as one Triton model, a file for each of their capabilities."""
    (first, one), alone = plans[0], len(plans) == 1
    files: dict[str, tuple[Path, str]] = {}
    capabilities: dict[str, str] = {}
    default = None
    for plan, sidecar in plans:
        _check_plan(plan, sidecar, options, say)
        if (sidecar.metadata, sidecar.input_name, sidecar.output_name) != (
            one.metadata,
            one.input_name,
            one.output_name,
        ):
            raise SidecarError(f"{plan} and {first} name one ONNX model and describe two; build both again from it")
        file = PLAN if alone else f"{'-'.join(map(_short, sidecar.compute_capabilities))}.plan"
        for capability in sidecar.compute_capabilities:
            # "8.0+" is no single capability: such a plan serves every GPU that has no other file.
            taken = default if capability.endswith("+") else capabilities.get(capability)
            if taken is not None:
                raise InputError(
                    f"{plan} and {files[taken][0]} are both for compute capability {capability}; leave one out"
                )
            if capability.endswith("+"):
                default = file
            else:
                capabilities[capability] = file
        files[file] = (plan, sidecar.plan_sha256)
        files[sidecar_beside(Path(file)).name] = (sidecar_beside(plan), sha256_of(sidecar_beside(plan)))
    config = ModelConfig(
        name=_name(first.stem if alone else Path(one.onnx_name).stem, first),
        suffix=".plan",
        metadata=one.metadata,
        input=one.input_name,
        output=one.output_name,
        batching=_batching([sidecar.profile for _, sidecar in plans], options),
        instances=options.instances,
        file=default,
        capability_files=dict(sorted(capabilities.items(), key=lambda entry: tuple(map(int, entry[0].split("."))))),
    )
    return Packed(config, files)


def _check_plan(plan: Path, sidecar: Sidecar, options: RepositoryOptions, say: Callable[[str], None]) -> None:
    """Raise SidecarError or ModelError for a plan that is not its sidecar's or that Triton cannot serve."""
    sidecar.check_digest(plan)
    _check_served(plan, sidecar.metadata, options)
    if sidecar.options.get("strip_weights"):
        raise ModelError(f"{plan} has no weights of its own, which Triton does not add; build without --strip-weights")
    smallest, largest = sidecar.profile.smallest, sidecar.profile.largest
    if sidecar.metadata.batch is None and smallest > 1:
        raise ModelError(
            f"{plan} takes {smallest} pictures at least, and Triton sends single ones too; build with --batch "
            f"1,{sidecar.profile.best},{largest}"
        )
    if options.max_batch is not None and options.max_batch > largest:
        raise ModelError(f"{plan} takes {largest} pictures at most, --max-batch {options.max_batch} was asked for")
    if sidecar.module != "tensorrt":
        say(
            f"warning: {plan} was built by {sidecar.module}, which NVIDIA's Triton images do not carry; for those "
            f"build with: alexnet build {sidecar.onnx_name} --target gpu"
        )
    if sidecar.options.get("version_compatible"):
        say(f"{plan} is version-compatible: start Triton with --backend-config=tensorrt,version-compatible=true")


def _check_served(path: Path, metadata: ModelMetadata, options: RepositoryOptions) -> None:
    """Raise ModelError for a graph whose operators Triton's images lack, or whose batch is another than asked for."""
    if metadata.batch and options.max_batch not in (None, metadata.batch):
        raise ModelError(
            f"{path} takes {metadata.batch} pictures at once and no other number; leave --max-batch out, or export "
            "it without --batch"
        )
    if metadata.lrn == "plugin":
        raise ModelError(f"{path} needs this toolchain's operator library, which Triton lacks; export with --lrn conv")


def _batching(profiles: list[Profile], options: RepositoryOptions) -> Batching:
    """Return the batches that all of the profiles take, the sizes they are tuned for preferred."""
    largest = min([profile.largest for profile in profiles] + ([options.max_batch] if options.max_batch else []))
    preferred = {profile.best for profile in profiles if profile.best <= largest} | {largest}
    return Batching(largest, tuple(sorted(preferred)), options.queue_delay)


def _name(stem: str, path: Path) -> str:
    """Return a model's name in Triton; InputError when its file's name makes none."""
    if not NAME.fullmatch(stem):
        raise InputError(
            f"{path} would be called {stem!r} in Triton; rename the file to letters, digits, dots, - and _"
        )
    return stem


def _short(capability: str) -> str:
    """Return 8.9 as sm89 and 8.0+ as sm80-up, for a file's name."""
    return "sm" + capability.replace(".", "").replace("+", "-up")


def _write(model: Packed, folder: Path) -> None:
    """Write a model's folder, its files copied and held against their digests."""
    version = folder / VERSION
    version.mkdir(parents=True)
    _write_text(folder / "config.pbtxt", model.config.text())
    labels = "".join(f"{printable(label)}\n" for label in model.config.metadata.labels)
    _write_text(folder / LABELS, labels)
    for name, (source, digest) in model.files.items():
        copy = version / name
        shutil.copyfile(source, copy)
        if sha256_of(copy) != digest:
            raise InputError(f"{source} changed while it was copied; run the command again")
    if ONNX in model.files:
        check_external_data(load_model(version / ONNX), version / ONNX)


def _write_text(path: Path, text: str) -> None:
    """Write a small file."""
    path.write_text(text, encoding="utf-8")
