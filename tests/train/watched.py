"""Pictures for tests of reading: they note what is asked for, and show who asks at the same time."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt


class AskedTogether:
    """The given pictures, which answer once `readers` threads ask at a time; `asked` holds every index and slice."""

    def __init__(self, pictures: npt.NDArray[np.uint8], readers: int) -> None:
        self.pictures = pictures
        self.asked: list[Any] = []
        self.together = threading.Barrier(readers, timeout=30)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, chosen: Any) -> npt.NDArray[np.uint8]:
        self.asked.append(chosen)
        self.together.wait()
        found: npt.NDArray[np.uint8] = self.pictures[chosen]
        return found
