"""The command line: one lazy group, so that `alexnet --help` imports no framework.

Each command stands in its stage's `commands.py` and is imported when it is called or its own help is asked.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback

import click

from alexnet import __version__
from alexnet.errors import UnexpectedError

# Name -> (module, attribute, short help): what `alexnet --help` lists without importing the module.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "describe": ("alexnet.commands", "describe", "Print the layer table of a recipe."),
    "data": ("alexnet.train.data.commands", "data", "Draw, prepare and check the pictures to train on."),
    "train": ("alexnet.train.commands", "train", "Train a network from a recipe."),
    "plan": ("alexnet.train.commands", "plan", "Predict how fast many devices train a recipe, and recommend a mesh."),
    "convert": ("alexnet.train.commands", "convert", "Split a run's checkpoint by columns, or merge it."),
    "import": (
        "alexnet.export.import_commands",
        "import_command",
        "Turn weights of Caffe or torchvision into a run.",
    ),
    "export": ("alexnet.export.commands", "export", "Turn a run into an ONNX model, with proof of parity."),
    "calibrate": (
        "alexnet.calibration.commands",
        "calibrate",
        "Turn an ONNX model into INT8 or FP8, its accuracy measured.",
    ),
    "build": (
        "alexnet.reproduce.build_commands",
        "build",
        "Turn an ONNX model into a TensorRT engine and its sidecar.",
    ),
    "package": ("alexnet.runtime.triton.commands", "package", "Turn models into a Triton model repository."),
    "infer": ("alexnet.runtime.commands", "infer", "Classify pictures, ten crops each."),
    "check": ("alexnet.reproduce.commands", "check", "Repeat a model's proof of parity, or compare any two."),
    "inspect": ("alexnet.runtime.inspect_commands", "inspect", "Say what a plan, a model or a run is."),
    "evaluate": ("alexnet.reproduce.commands", "evaluate", "Measure top-1 and top-5 error of a run or a model."),
    "reproduce": (
        "alexnet.reproduce.experiment_commands",
        "reproduce",
        "Make one of the paper's figures or tables.",
    ),
    "report": ("alexnet.reproduce.report.commands", "report", "Write one page of HTML about a run."),
    "gallery": (
        "alexnet.runtime.gallery.commands",
        "gallery",
        "Open a local page that classifies the pictures dropped on it.",
    ),
    "index": (
        "alexnet.reproduce.index_commands",
        "index",
        "Index pictures by the last hidden layer, to be searched.",
    ),
    "search": ("alexnet.runtime.retrieval.commands", "search", "Find the pictures of an index nearest to another."),
    "serve": ("alexnet.runtime.serve.commands", "serve", "Serve models over HTTP, by the Open Inference Protocol."),
    "benchmark": (
        "alexnet.runtime.benchmark.commands",
        "benchmark",
        "Time models in every backend: latency, throughput, what bounds them, the best batch.",
    ),
    "doctor": ("alexnet.runtime.commands", "doctor", "Say what is installed here and what each stage needs."),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the chain."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None when there is no such one."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a name that is not there is refused with the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" The commands are {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="alexnet")
@click.option("--debug", is_flag=True, envvar="ALEXNET_DEBUG", help="Show the traceback of an error.")
def alexnet(debug: bool) -> None:
    """AlexNet as published in 2012: train, export, build, infer, and prove it at every hop.

    \b
    make train                                   train on the embedded pictures
    alexnet export --onnx                        newest run -> model.onnx and its parity pack
    alexnet build model.onnx                     -> model.plan and model.plan.json
    alexnet infer --engine model.onnx images/    top-5 of every picture

    Every error is one line and has an exit code of its own: docs/errors.md.
    """


def main() -> None:
    """Run the command line; errors end on one line with their exit code, `--debug` adds the traceback."""
    debug = "--debug" in sys.argv[1:2] or os.environ.get("ALEXNET_DEBUG", "") not in ("", "0")
    try:
        result = alexnet.main(prog_name="alexnet", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Abort:
        click.echo("Stopped: nothing was left half-written.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        if debug:
            traceback.print_exc()
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone: what Unix tools do is to end quietly.
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        if debug:
            traceback.print_exc()
        arguments = " ".join(part for part in sys.argv[1:] if part != "--debug")
        fault = UnexpectedError(
            f"{type(error).__name__}: {error}; this is a fault of the toolchain: "
            f"run alexnet --debug {arguments} and report the traceback"
        )
        fault.show()
        sys.exit(fault.exit_code)
