"""The command `alexnet import`."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet.errors import missing_package
from alexnet.export.foreign import KINDS, Kind


@click.command(
    "import",
    epilog="""\b
Examples:
  alexnet import bvlc_reference_caffenet.caffemodel --mean imagenet_mean.binaryproto --labels synset_words.txt
  alexnet import bvlc_alexnet.caffemodel runs/berkeley --mean imagenet_mean.binaryproto --pictures photos/
  alexnet import alexnet-owt-7be5be79.pth --labels imagenet_class_index.json
  alexnet import alexnet.safetensors runs/torchvision --pictures photos/
""",
)
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("run", required=False, metavar="[RUN_DIR]", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(KINDS), help="The net  [default: seen from the file where it can be]")
@click.option(
    "--mean",
    type=click.Path(path_type=Path),
    help="Caffe's mean image, a .binaryproto  [default: each colour's published mean]",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Class names, one a line or JSON  [default: numbered]",
)
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder of pictures to keep for the proof of parity.")
def import_command(
    weights: Path, run: Path | None, kind: Kind | None, mean: Path | None, labels: Path | None, pictures: Path | None
) -> None:
    """Make a run directory of weights that others trained: Caffe's bvlc_alexnet or CaffeNet, or torchvision's alexnet.

    WEIGHTS is a .caffemodel, or a state dict as .safetensors (preferred) or .pth, read without running any of it. The
    run takes the same way as one that was trained here: export, evaluate, check, train --init-from. docs/import.md
    tells where the files are published and in what these nets differ from the paper's.
    """
    try:
        from alexnet.export.import_run import import_weights
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_package("torch", "train", "alexnet import") from None
    done = import_weights(weights, run, kind=kind, mean=mean, labels=labels, pictures=pictures)
    origin, network = done.recipe.origin, done.recipe.network
    widths = "-".join(map(str, (*network.kernels, *network.hidden, network.classes)))
    click.echo(
        f"{done.run.path}: {origin.kind} {widths}, crops of {network.crop}, {done.pictures} pictures kept for the proof"
    )
    for line in origin.folded:
        click.echo(f"  folded in: {line}")
    for line in origin.differs:
        click.echo(f"  differs:   {line}")
    prove = "" if done.pictures else " --pictures DIR"
    click.echo(f"next: alexnet export {done.run.path} --onnx{prove}")
