"""A headless Chromium for tests of pages, where there is one: pages that say what went wrong in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# pictures in WebGL without a graphics card
FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def browser() -> Iterator[Any]:
    """A running Chromium (GEOMCLIP_CHROMIUM names one), or the test is skipped with what is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    named = os.environ.get("GEOMCLIP_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium, or GEOMCLIP_CHROMIUM=PATH")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


class Opened:
    """A page in the browser, with the errors and requests that it made; `view` is playwright's page."""

    def __init__(
        self, chromium: Any, path: Path, *, width: int = 500, height: int = 500, scheme: str = "light"
    ) -> None:
        self.troubles: list[str] = []
        self.context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.view = self.context.new_page()
        self.view.set_default_timeout(30_000)
        self.view.on("pageerror", lambda error: self.troubles.append(f"error {error}"))
        self.view.on("console", lambda said: self.troubles.append(said.text) if said.type == "error" else None)
        self.view.on("dialog", lambda dialog: (self.troubles.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.view.on("request", self._note)
        self.view.goto(path.resolve().as_uri())

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.troubles.append(f"request {request.url}")

    def draw(self) -> None:
        """Scroll to every figure and wait until it is drawn."""
        figures = self.view.locator("[data-figure]")
        for index in range(figures.count()):
            figures.nth(index).scroll_into_view_if_needed()
            self.view.wait_for_selector(f"#figure-{index + 1}[data-drawn]")

    def close(self) -> None:
        self.context.close()
