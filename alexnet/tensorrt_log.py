"""What TensorRT says, kept instead of printed: builder and runtime quote its last error on one line."""

from __future__ import annotations

from typing import Any


def tensorrt_log(trt: Any) -> Any:
    """Return a logger (TensorRT API: ILogger) of the module `trt`, tensorrt or tensorrt_rtx, that keeps what it hears.

    Its `errors` and `warnings` are all of them, `last()` the latest error. TensorRT keeps no reference of its own: it
    must outlive what it is given to.
    """

    # The base class comes from whichever of the two modules is installed, which mypy cannot know.
    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message)

        def last(self) -> str:
            return self.errors[-1] if self.errors else "no reason given"

    return Log()
