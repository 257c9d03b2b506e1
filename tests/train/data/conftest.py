"""Prepared data that are fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from alexnet.train.data.prepare import prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of 24 and one of 8 pictures of 72 pixels, as `alexnet data prepare` writes them."""
    out = tmp_path_factory.mktemp("prepared") / "tiny"
    source = "generator:size=72,train=24,val=8"
    prepare(source, out, side=72, form="raw", quality=95, workers=1, strict=False, progress=lambda done, total: None)
    return out
