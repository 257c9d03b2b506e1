"""From files to answers: decoding alone, inference alone, and both as `alexnet infer` overlaps them, in turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path

from alexnet.errors import PictureError
from alexnet.metadata import ModelMetadata
from alexnet.pictures import load_picture
from alexnet.runtime.benchmark.results import EndToEnd
from alexnet.runtime.benchmark.subjects import Opened
from alexnet.runtime.benchmark.timing import Limit, Spread, Subject, ratio, take_turns
from alexnet.runtime.classify import classify

# Batches of one pass over the files: the first batch's decoding and the last one's inference overlap with nothing.
BATCHES = 12


def end_to_end(one: Opened, batch: int, images: Sequence[Path], workers: int, limit: Limit) -> EndToEnd | str:
    """Return the rates of an opened model over files, or why there are none.

    A pass takes BATCHES batches, the files repeated where they are fewer; `workers` threads decode.
    """
    assert one.backend is not None
    backend, total = one.backend, batch * BATCHES
    paths = list(islice(cycle(images), total))
    infer = one.run(batch)
    subjects = (
        Subject("decoding", lambda: decode_all(paths, backend.metadata, workers), total),
        Subject("inference", lambda: [infer() for _ in range(BATCHES)], total),
        Subject("end to end", lambda: deque(classify(backend, paths, batch=batch, workers=workers), 0), total),
    )
    take_turns(subjects, limit)
    for subject in subjects:
        if subject.error is not None:
            return f"{subject.name}: {subject.error}"
    decoding, inference, whole = subjects
    ratios = [ratio(part, whole) for part in (decoding, inference)]
    slower = ratios[0] if decoding.rate < inference.rate else ratios[1]
    rates = [Spread.of(subject.rates) for subject in subjects]
    return EndToEnd(one.path, one.name, batch, rates[0], rates[1], rates[2], slower)


def decode_all(paths: Sequence[Path], metadata: ModelMetadata, workers: int) -> None:
    """Decode files with several threads and drop the pictures."""

    def decode(path: Path) -> None:
        with suppress(PictureError):
            load_picture(path, metadata.preprocessing)

    with ThreadPoolExecutor(workers) as pool:
        deque(pool.map(decode, paths), 0)
