"""The gallery's page in headless Chromium: pictures good, bad and too large, by mouse and by keyboard."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alexnet.runtime.gallery import server
from tests.chromium import DESKTOP, PHONE, Visit, visited
from tests.runtime.conftest import png
from tests.runtime.gallery.conftest import Served

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """Pictures of each kind."""
    folder = tmp_path / "dropped"
    folder.mkdir()
    noise = io.BytesIO()
    Image.effect_noise((40, 40), 90).save(noise, "PNG")
    kinds = {"red.png": png((230, 20, 20)), "words.png": b"only words", "torn.png": noise.getvalue()[:900]}
    for name, data in {**kinds, EVIL: png((20, 20, 230)), "large.png": b"0" * 70_000}.items():
        (folder / name).write_bytes(data)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def visit(
    served: Served, chromium: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Visit]:
    """The page, with a small limit for uploads."""
    monkeypatch.setattr(server, "LARGEST", 50_000)
    with visited(chromium, served.server.url, request.param) as found:
        found.page.get_by_text("12 pictures to be neighbours").wait_for()
        yield found


def drop(visit: Visit, *paths: Path) -> None:
    visit.page.set_input_files("#files", [str(path) for path in paths])
    visit.page.get_by_role("status").get_by_text(f"{len(paths)} picture").get_by_text("looked at").wait_for()


def test_a_picture_gets_crops_bars_and_neighbours(visit: Visit, pictures: dict[str, Path], served: Served) -> None:
    drop(visit, pictures["red.png"])
    card = visit.page.locator("article")
    assert card.get_by_role("heading", level=2).inner_text() == "red.png"
    assert card.locator(".bars .label").all_inner_texts()[0] == "red"
    assert (card.locator(".crops img").count(), card.locator(".neighbours img").count()) == (10, 6)
    assert card.locator(".neighbours b").all_inner_texts()[:4] == ["red"] * 4
    visit.page.wait_for_load_state("networkidle")
    whole = "(all) => all.every((image) => image.complete && image.naturalWidth > 0 && image.alt)"
    assert card.locator("img").evaluate_all(whole)
    assert (visit.errors, visit.overflow() <= 0) == ([], True)
    assert all(url.startswith((served.server.url, "data:")) for url in visit.requests)


def test_what_is_no_picture_is_said_beside_those_that_are(visit: Visit, pictures: dict[str, Path]) -> None:
    drop(visit, pictures["words.png"], pictures["torn.png"], pictures["red.png"])
    said = visit.page.get_by_role("alert").all_inner_texts()
    assert len(said) == 2
    assert "truncated or damaged" in said[0] and "is not a picture in JPEG" in said[1]
    assert visit.page.locator("article .bars").count() == 1
    assert visit.overflow() <= 0


def test_a_file_over_the_limit_is_not_sent(visit: Visit, pictures: dict[str, Path]) -> None:
    drop(visit, pictures["large.png"])
    assert (
        visit.page.get_by_role("alert").inner_text()
        == "This file has 70,000 bytes, the limit is 50,000; make it smaller"
    )
    assert not [url for url in visit.requests if url.endswith("/classify")]


def test_a_name_is_only_text(visit: Visit, pictures: dict[str, Path]) -> None:
    drop(visit, pictures[EVIL])
    assert visit.page.get_by_role("heading", level=2).inner_text() == EVIL
    assert visit.errors == []


def test_more_pictures_than_are_taken_at_once_are_said(visit: Visit, pictures: dict[str, Path], tmp_path: Path) -> None:
    many = [tmp_path / f"{number}.png" for number in range(52)]
    for path in many:
        path.write_bytes(pictures["red.png"].read_bytes())
    visit.page.set_input_files("#files", [str(path) for path in many])
    visit.page.get_by_text("50 pictures looked at. 50 pictures are taken at once: 2 left out.").wait_for(timeout=60_000)
    assert visit.page.locator("article").count() == 50


def test_the_keyboard_is_enough(visit: Visit, pictures: dict[str, Path]) -> None:
    drop(visit, pictures["red.png"])
    page = visit.page
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "files"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Remove red.png"
    page.keyboard.press("Enter")
    assert page.locator("article").count() == 0
    assert page.evaluate("() => document.activeElement.id") == "results"


def test_a_picture_can_be_dropped_anywhere(visit: Visit, pictures: dict[str, Path]) -> None:
    data = list(pictures["red.png"].read_bytes())
    visit.page.evaluate(
        "(data) => { const carried = new DataTransfer();"
        "carried.items.add(new File([new Uint8Array(data)], 'dropped.png', { type: 'image/png' }));"
        "const dropped = { dataTransfer: carried, bubbles: true, cancelable: true };"
        "document.body.dispatchEvent(new DragEvent('drop', dropped)); }",
        data,
    )
    visit.page.get_by_role("heading", name="dropped.png").wait_for()
    assert visit.page.locator(".crops img").count() == 10


def test_a_server_that_has_gone_is_said(visit: Visit, pictures: dict[str, Path], served: Served) -> None:
    served.server.shutdown()
    served.server.server_close()
    drop(visit, pictures["red.png"])
    assert "did not answer" in visit.page.get_by_role("alert").inner_text()
