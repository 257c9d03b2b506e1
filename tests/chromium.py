"""Headless Chromium for the tests marked `browser`: a page, and what it asked for and complained about meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


def executable() -> str | None:
    """Return the browser: ALEXNET_CHROMIUM, or the first of NAMES that is installed."""
    return os.environ.get("ALEXNET_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Visit:
    """A page, every address it asked for, and every error of its scripts or its console."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        widths: tuple[int, int] = self.page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        return widths[0] - widths[1]


@contextmanager
def browser() -> Iterator[Any]:
    """Yield a browser of the distribution, without its sandbox only where root runs it."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable(), args=arguments)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def visited(opened: Any, url: str, viewport: dict[str, int], scripts: bool = True) -> Iterator[Visit]:
    """Yield a page that has been loaded in a window of a size."""
    context = opened.new_context(viewport=viewport, java_script_enabled=scripts)
    visit = Visit(context.new_page())
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    visit.page.on("console", lambda said: visit.errors.append(said.text) if said.type in ("error", "warning") else None)
    try:
        visit.page.goto(url)
        yield visit
    finally:
        context.close()
