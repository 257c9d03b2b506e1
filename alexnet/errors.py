"""The errors a user can meet, each with its own exit code.

Every message is one line that says what was found, what was expected and the command or change that
mends it. click prints it without a traceback; `alexnet --debug ...` shows the traceback. The table of
codes in docs/errors.md is checked against this file by a test.
"""

from __future__ import annotations

import sys
from typing import IO, Any

import click


def printable(text: str) -> str:
    """Return `text` fit for a terminal: control characters and undecodable bytes of file names are escaped."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


class AlexNetError(click.ClickException):
    """Base of the errors below: the message on one line of standard error, then `exit_code`."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print `Error: message` on one line, whatever line breaks a quoted cause contained."""
        message = printable(" ".join(self.format_message().split()))
        click.echo(f"Error: {message}", file=file if file is not None else sys.stderr)


class InputError(AlexNetError):
    """A path that was given is missing, empty, or not what the command works on."""

    exit_code = 3


class PictureError(AlexNetError):
    """A picture cannot be decoded, or is refused: format, pixel limit, truncation."""

    exit_code = 4


class ModelError(AlexNetError):
    """A model file is unreadable, or not one that this toolchain exported."""

    exit_code = 5


class ParityError(AlexNetError):
    """A result differs from the training model's by more than its tolerance."""

    exit_code = 6


class MissingPackageError(AlexNetError):
    """A package that the command needs is not installed; the message names the extra."""

    exit_code = 7


class DeviceError(AlexNetError):
    """The device or execution provider is not there, or not the one a plan was built for."""

    exit_code = 8


class RecipeError(AlexNetError):
    """A recipe names an unknown field, or gives a value of the wrong type or range."""

    exit_code = 9


class BuildError(AlexNetError):
    """The TensorRT parser or builder refused the network."""

    exit_code = 10


class SidecarError(AlexNetError):
    """What stands beside a plan does not describe it: digest, version or fields."""

    exit_code = 11


class TrainingError(AlexNetError):
    """Training cannot go on: the loss is not finite, or a checkpoint does not fit the recipe."""

    exit_code = 12


class AccuracyError(AlexNetError):
    """A quantised model classifies worse than its float32 model by more than is allowed."""

    exit_code = 13


class Interrupted(AlexNetError):
    """Stopped by SIGINT or SIGTERM with everything saved; the message says how to go on."""

    exit_code = 130


class UnexpectedError(AlexNetError):
    """A fault of the toolchain itself; `--debug` shows where."""

    exit_code = 70


EXIT_CODES: dict[int, str] = {
    0: "success",
    2: "the command line is wrong (click's own usage errors)",
    **{
        kind.exit_code: (kind.__doc__ or "").split("\n")[0].rstrip(".")
        for kind in (
            InputError,
            PictureError,
            ModelError,
            ParityError,
            MissingPackageError,
            DeviceError,
            RecipeError,
            BuildError,
            SidecarError,
            TrainingError,
            AccuracyError,
            UnexpectedError,
            Interrupted,
        )
    },
}


def missing_package(package: str, extra: str, purpose: str) -> MissingPackageError:
    """Return the error for an absent package: `purpose` is what needs it, `extra` what brings it."""
    return MissingPackageError(
        f"{purpose} needs the package {package}, which is not installed; install it with: "
        f"pip install 'alexnet-toolchain[{extra}]' (in a checkout: pip install -e '.[{extra}]' -c constraints.txt)"
    )
