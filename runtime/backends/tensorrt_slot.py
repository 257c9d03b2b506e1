"""One batch in flight on a GPU: a TensorRT context with its stream, page-locked buffers, device memory and CUDA graph.

TensorRT API: IExecutionContext.set_input_shape, set_tensor_address, execute_async_v3, is_stream_capturable.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.errors import DeviceError
from alexnet.runtime.backends.interface import Floats
from alexnet.runtime.cuda import Stream


@dataclass(frozen=True)
class Ends:
    """An engine's input and output: their names, the shape of one picture and its type, and the number of classes."""

    input: str
    output: str
    picture: tuple[int, ...]
    kind: npt.DTypeLike
    classes: int


class Slot:
    """Runs one batch at a time; several slots of one engine run side by side, copies beside arithmetic.

    A batch size that comes twice in a row is recorded as a CUDA graph, copies and all, and launched as one from then
    on. TensorRT ties a graph to the shape of its context, so that another size discards it.
    """

    def __init__(self, context: Any, stream: Stream, ends: Ends, largest: int, log: Any) -> None:
        self.context, self.stream, self.ends, self.log = context, stream, ends, log
        self.pictures = stream.pinned((largest, *ends.picture), ends.kind)
        self.answers = stream.pinned((largest, ends.classes), np.float32)
        self.pictures_address = stream.allocate(self.pictures.nbytes)
        self.answers_address = stream.allocate(self.answers.nbytes)
        context.set_tensor_address(ends.input, self.pictures_address)
        context.set_tensor_address(ends.output, self.answers_address)
        self.size = 0
        self.graph: Any = None
        self.graphs = True

    def run(self, batch: npt.NDArray[Any]) -> Floats:
        """Return the answers [N, classes] for a batch that fits; DeviceError when TensorRT refuses."""
        self.stream.use()
        number = len(batch)
        self.pictures[:number] = batch
        if number != self.size:
            self._discard()
            if not self.context.set_input_shape(self.ends.input, batch.shape):
                raise DeviceError(f"TensorRT refuses {number} pictures in a batch ({self.log.last()}); build again")
            self._enqueue(number)
            self.size = number
        else:
            if self.graph is None and self.graphs:
                self._record(number)
            if self.graph is None:
                self._enqueue(number)
            else:
                self.stream.launch(self.graph)
        self.stream.wait()
        return self.answers[:number].copy()

    def stages(self, batch: npt.NDArray[Any]) -> tuple[float, float, float]:
        """Return the seconds of upload, network and download of a batch of the size that was run last."""
        self.stream.use()
        number = len(batch)
        self.pictures[:number] = batch
        parts = (
            lambda: self.stream.upload(self.pictures_address, self.pictures[:number]),
            lambda: self._execute(number),
            lambda: self.stream.download(self.answers[:number], self.answers_address),
        )
        seconds = []
        for part in parts:
            began = time.perf_counter()
            part()
            self.stream.wait()
            seconds.append(time.perf_counter() - began)
        upload, network, download = seconds
        return upload, network, download

    def _enqueue(self, number: int) -> None:
        """Put the copies and the network of a batch on the stream."""
        self.stream.upload(self.pictures_address, self.pictures[:number])
        self._execute(number)
        self.stream.download(self.answers[:number], self.answers_address)

    def _execute(self, number: int) -> None:
        """Put the network on the stream."""
        if not self.context.execute_async_v3(int(self.stream.handle)):
            raise DeviceError(f"TensorRT could not run {number} pictures ({self.log.last()}); use a smaller --batch")

    def _record(self, number: int) -> None:
        """Record a batch as a CUDA graph; where that cannot be, it is not tried again."""
        capturable = getattr(self.context, "is_stream_capturable", None)
        if capturable is not None and not capturable(int(self.stream.handle)):
            self.graphs = False
            return
        try:
            self.stream.begin_capture()
            self._enqueue(number)
            self.graph = self.stream.end_capture()
        except DeviceError:
            self.graphs = False
            # What failed leaves the stream recording.
            with suppress(DeviceError):
                self.stream.free_graph(self.stream.end_capture())

    def _discard(self) -> None:
        """Free the graph, if there is one."""
        self.size = 0
        if self.graph is not None:
            self.stream.free_graph(self.graph)
            self.graph = None

    def close(self) -> None:
        """Free the graph, the memory, the context and the stream."""
        self.stream.use()
        self._discard()
        self.stream.free(self.pictures_address)
        self.stream.free(self.answers_address)
        self.stream.unpin(self.pictures)
        self.stream.unpin(self.answers)
        del self.pictures, self.answers, self.context
        self.stream.close()
