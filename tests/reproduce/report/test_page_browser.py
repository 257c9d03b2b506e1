"""The page of a real run, opened from the disk in headless Chromium."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import DESKTOP, PHONE, visited

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_opens_from_the_disk_alone_and_fits_the_window(
    written: Path, tmp_path: Path, chromium: Any, viewport: dict[str, int]
) -> None:
    page = tmp_path / "alone" / "page.html"
    page.parent.mkdir()
    page.write_bytes(written.read_bytes())
    with visited(chromium, page.as_uri(), viewport) as visit:
        visit.page.evaluate("() => document.querySelectorAll('details').forEach((part) => (part.open = true))")
        assert visit.errors == []
        assert {url for url in visit.requests if not url.startswith("data:")} == {page.as_uri()}
        assert visit.overflow() <= 0
        broken = visit.page.evaluate(
            "async () => { const all = [...document.images]; all.forEach((i) => (i.loading = 'eager'));"
            "await Promise.allSettled(all.map((i) => i.decode()));"
            "return all.filter((i) => !i.naturalWidth || i.alt === '').length; }"
        )
        assert broken == 0
        assert visit.page.locator("img").count() > 15


def test_the_keyboard_reaches_everything(written: Path, chromium: Any) -> None:
    with visited(chromium, written.as_uri(), DESKTOP) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.activeElement.id") == "main"
        reached = set()
        for _ in range(80):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("() => document.activeElement.tagName + ' ' + document.activeElement.className"))
        assert {"SUMMARY ", "BUTTON ", "DIV scroll"} <= reached
        part = page.locator("#curves details")
        part.locator("summary").focus()
        page.keyboard.press("Enter")
        assert part.evaluate("(part) => part.open") is True


def test_a_table_is_sorted_by_its_heads(written: Path, chromium: Any) -> None:
    with visited(chromium, written.as_uri(), DESKTOP) as visit:
        table = visit.page.get_by_role("region", name="Errors class by class")
        head = table.get_by_role("columnheader", name="top-1 error")
        button = head.get_by_role("button")
        button.focus()
        for order, backwards in (("ascending", False), ("descending", True)):
            visit.page.keyboard.press("Enter")
            assert head.get_attribute("aria-sort") == order
            shares = [
                float(text.split("\N{NO-BREAK SPACE}")[0])
                for text in table.locator("tbody td:nth-child(3)").all_text_contents()
            ]
            assert shares == sorted(shares, reverse=backwards)


def test_its_structure_is_that_of_a_document(written: Path, chromium: Any) -> None:
    with visited(chromium, written.as_uri(), PHONE, scripts=False) as visit:
        page = visit.page
        levels = [
            int(name[1]) for name in page.locator("h1, h2, h3").evaluate_all("(all) => all.map((h) => h.tagName)")
        ]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(later - level <= 1 for level, later in itertools.pairwise(levels))
        assert page.locator("th:not([scope])").count() == 0
        targets = page.locator("nav a").evaluate_all("(all) => all.map((link) => link.getAttribute('href'))")
        assert len(targets) == 9 and all(page.locator(target).count() == 1 for target in targets)


def test_paper_shows_what_is_folded(written: Path, chromium: Any) -> None:
    with visited(chromium, written.as_uri(), {"width": 690, "height": 1000}) as visit:
        visit.page.emulate_media(media="print")
        visit.page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
        assert visit.page.locator("details:not([open])").count() == 0
        assert not visit.page.locator("nav").is_visible()
        assert visit.overflow() <= 0
        visit.page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
        assert visit.page.locator("details:not([open])").count() > 0
