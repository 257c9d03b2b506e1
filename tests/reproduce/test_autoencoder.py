"""Codes: the autoencoder that trains them, the index that keeps them, and the search by Hamming distance."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from alexnet.errors import InputError
from alexnet.reproduce import autoencoder, index
from alexnet.reproduce.autoencoder import AutoencoderOptions, train_autoencoder
from alexnet.runtime.retrieval.codes import load_codes, nearest_codes, save_codes
from tests.runtime.backends.test_onnx_file import changed, ten_crops_of_a_matrix
from tests.runtime.conftest import colour_model
from tests.runtime.conftest import images as images
from tests.runtime.test_infer import TORCHLESS

Cli = Callable[..., Result]
TINY = AutoencoderOptions(bits=16, hidden=32, epochs=25, batch=16)


def groups(rows: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Return rows about twelve centres in 20 dimensions, and the number of each one's centre."""
    generator = np.random.default_rng(0)
    centres, members = generator.normal(size=(12, 20)) * 3, np.arange(rows) % 12
    return (centres[members] + generator.normal(size=(rows, 20)) * 0.2).astype(np.float32), members


def nothing(done: int, total: int | None) -> None:
    """Count nothing."""


def test_rows_of_a_group_have_near_codes_and_those_of_another_far_ones() -> None:
    rows, members = groups()
    trained = train_autoencoder(rows, TINY, nothing)
    codes = trained.encoder.encode_all(rows, nothing)
    assert (codes.shape, codes.dtype) == ((240, 2), np.uint8)
    for query in range(12):
        near = [row for row, _ in nearest_codes(codes, codes[query], 10)]
        assert np.mean(members[near] == query) > 0.8
    assert 0 < trained.error < 0.6 and trained.rows == 240


def test_the_same_seed_gives_the_same_codes_and_leaves_torch_alone() -> None:
    torch = pytest.importorskip("torch")
    rows, _ = groups()
    torch.manual_seed(5)
    wanted = torch.rand(3).tolist()
    torch.manual_seed(5)
    first, second = (train_autoencoder(rows, TINY, nothing).encoder for _ in range(2))
    assert torch.rand(3).tolist() == wanted
    assert np.array_equal(first.out, second.out)
    other = train_autoencoder(rows, AutoencoderOptions(bits=16, hidden=32, epochs=25, batch=16, seed=1), nothing)
    assert not np.array_equal(first.out, other.encoder.out)


def test_training_holds_as_many_rows_as_memory_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "MEMORY", 100 * 20 * 4)
    assert train_autoencoder(groups()[0], TINY, nothing).rows == 100


def test_features_that_do_not_differ_are_refused() -> None:
    with pytest.raises(InputError, match="the same features"):
        train_autoencoder(np.ones((9, 4), dtype=np.float32), TINY, nothing)


@pytest.mark.parametrize("width", [1, 3, 8, 16])
def test_the_nearest_codes_are_those_of_a_plain_count(width: int) -> None:
    codes = np.random.default_rng(width).integers(0, 256, (500, width), dtype=np.uint8)
    wanted = [bin(int.from_bytes((row ^ codes[7]).tobytes(), "big")).count("1") for row in codes]
    order = sorted(range(500), key=lambda row: (wanted[row], row))[:20]
    assert nearest_codes(codes, codes[7], 20) == [(row, float(wanted[row])) for row in order]


def test_codes_come_back_from_their_file_and_others_are_refused(tmp_path: Path) -> None:
    rows, _ = groups()
    encoder = train_autoencoder(rows, TINY, nothing).encoder
    codes = encoder.encode_all(rows, nothing)
    save_codes(tmp_path / "c", encoder, codes)
    again, kept = load_codes(tmp_path / "c", 240, 20, 16)
    assert np.array_equal(kept, codes) and np.array_equal(again.encode(rows), codes)
    for wanted in ((239, 20, 16), (240, 21, 16), (240, 20, 24)):
        with pytest.raises(InputError, match="not of the features"):
            load_codes(tmp_path / "c", *wanted)
    (tmp_path / "c").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be read"):
        load_codes(tmp_path / "c", 240, 20, 16)


@pytest.fixture
def asked(tmp_path: Path, images: Path) -> tuple[str | Path, ...]:
    """The command that indexes twelve pictures without the approximate index."""
    hidden = changed(colour_model(tmp_path / "hidden.onnx"), ten_crops_of_a_matrix)
    return ("index", hidden, images, "--no-approximate", "--quiet", "-o", tmp_path / "index")


def test_an_index_gets_codes_and_is_searched_by_them_without_torch(
    asked: tuple[str | Path, ...], images: Path, tmp_path: Path, run_cli: Cli
) -> None:
    assert run_cli(*asked).exit_code == 0
    without = run_cli("search", asked[-1], images / "red" / "0.png", "--codes")
    assert (without.exit_code, "has no codes; add them" in without.stderr) == (3, True), without.stderr
    done = run_cli(*asked, "--codes", "16")
    assert (done.exit_code, done.stdout.strip().endswith("exact, codes of 16 bits")) == (0, True), done.output
    made = json.loads((tmp_path / "index" / "index.json").read_text())["codes"]
    assert (made["bits"], made["rows"], made["seed"]) == (16, 12, 0)
    call = [sys.executable, "-c", TORCHLESS, "search", asked[-1], images / "green" / "2.png", "--codes", "--top", "4"]
    out = subprocess.run(list(map(str, call)), capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert "12 pictures, codes" in lines[0]
    assert [line.split()[1:3] for line in lines[1:]] == [["0.000", "green"]] * 4


def test_codes_are_kept_and_those_of_another_length_take_their_place(
    asked: tuple[str | Path, ...], tmp_path: Path, images: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_cli(*asked, "--codes", "16").exit_code == 0
    file = tmp_path / "index" / "codes.safetensors"
    before = file.read_bytes()

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(index, "train_autoencoder", killed)
        for bits in ((), ("--codes", "16")):
            assert run_cli(*asked, *bits).exit_code == 0
        stopped = run_cli(*asked, "--codes", "24")
    assert (stopped.exit_code, "the same command goes on" in stopped.stderr) == (130, True), stopped.output
    assert file.read_bytes() == before
    search = run_cli("search", asked[-1], images / "red" / "0.png", "--codes")
    assert (search.exit_code, "has no codes" in search.stderr) == (3, True)
    assert run_cli(*asked, "--codes", "24").exit_code == 0
    assert run_cli("search", asked[-1], images / "red" / "0.png", "--codes").exit_code == 0


def test_what_cannot_be_coded_is_said_first(
    asked: tuple[str | Path, ...], tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    uneven = run_cli(*asked, "--codes", "12")
    assert (uneven.exit_code, "a multiple of 8" in uneven.stderr) == (2, True), uneven.stderr
    both = run_cli("search", tmp_path, tmp_path, "--codes", "--exact")
    assert (both.exit_code, "two ways to search" in both.stderr) == (2, True), both.stderr
    monkeypatch.setitem(sys.modules, "torch", None)
    done = run_cli(*asked, "--codes", "16")
    assert (done.exit_code, "[train]" in done.stderr) == (7, True), done.stderr
    assert not (tmp_path / "index").exists()
