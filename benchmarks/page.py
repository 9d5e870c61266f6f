"""How soon the page of 1,000 pairs shows its first picture, and what it costs to write, beside an earlier commit.

python benchmarks/page.py [--images 1000] [--dim 512] [--turns 5] [--before REVISION or FOLDER] [--out FILE.json]

`geomclip report` of one file of vectors is run by the code of this tree and of the earlier one, and both pages are
opened in headless Chromium, in turns, each in a new context. The first picture is the first one of the data that is
painted: a figure that plotly has drawn, or the still sphere that is in the page itself. Needs playwright and Chromium
(GEOMCLIP_CHROMIUM names one), and git for a revision; what is missing is named, and not measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goal import Goal, report
from made import made
from unchanged import tree_of

from geomclip.embeddings.store import save

BEFORE = "eacae4d"
"""The commit whose page had no still picture: the first one was what plotly drew."""
FIRST, WRITING = 0.6, 1.0
"""Of the seconds of the earlier page: until the first picture, and to write it."""
NOISE = 0.05
"""Share by which the medians of equal runs differ on a machine with other work."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]

# milliseconds from the start of the navigation to the frame after the one that has the picture
WATCH = """(() => {
  const seen = (window.seen = {});
  const note = (name) => requestAnimationFrame(() => requestAnimationFrame(() => (seen[name] ??= performance.now())));
  const look = () => {
    if (document.querySelector(".still svg path.image")) note("first");
    if (document.querySelector("[data-picture][data-drawn]")) { note("first"); note("drawn"); }
    if (!seen.drawn) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""


def written(tree: Path, vectors: Path, page: Path) -> float:
    """Seconds of `geomclip report` by the code of this tree."""
    command = [sys.executable, "-m", "geomclip", "report", str(vectors), "--out", str(page), "--quiet"]
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--bootstrap", "0", "--no-curves"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"geomclip report of {tree}: exit {done.returncode}: {done.stderr.strip()}")
    return time.perf_counter() - begin


def seen(chromium: Any, page: Path) -> Mapping[str, float]:
    """Seconds until the first picture of a page is seen, and until its first figure is drawn."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    view = context.new_page()
    view.add_init_script(WATCH)
    view.goto(page.resolve().as_uri())
    view.wait_for_function("window.seen.drawn", timeout=120_000)
    found = view.evaluate("window.seen")
    context.close()
    return {name: value / 1000 for name, value in found.items()}


def opened(pages: Mapping[str, Path], turns: int) -> tuple[dict[str, list[Mapping[str, float]]], str]:
    """What is seen of each page in each turn; or what is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}, "playwright is not installed"
    found = os.environ.get("GEOMCLIP_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        return {}, "there is no Chromium here"
    times: dict[str, list[Mapping[str, float]]] = {name: [] for name in pages}
    with sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=found, args=FLAGS)
        for page in pages.values():
            seen(chromium, page)  # the browser's own start
        for _ in range(turns):
            for name, page in pages.items():
                times[name].append(seen(chromium, page))
        chromium.close()
    return times, ""


def measured(options: argparse.Namespace, before: Path) -> tuple[list[Goal], list[dict[str, Any]]]:
    """Both pages written and opened, in turns."""
    trees = {"before": before, "now": Path(__file__).resolve().parents[1]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors = folder / "vectors.npz"
        save(made(options.images, 1, options.dim), vectors)
        pages = {side: folder / f"{side}.html" for side in trees}
        seconds: dict[str, list[float]] = {side: [] for side in trees}
        for turn in range(options.turns + 1):
            for side, tree in trees.items():
                took = written(tree, vectors, pages[side])
                if turn:  # the first reads files that the others find in memory
                    seconds[side].append(took)
        times, missing = opened(pages, options.turns)
        sizes = {side: pages[side].stat().st_size / 1e6 for side in trees}
    rows = []
    for side in trees:
        row: dict[str, Any] = {"page": side, "report s": statistics.median(seconds[side]), "MB": sizes[side]}
        if times:
            row["first picture s"] = statistics.median(each["first"] for each in times[side])
            row["sphere to turn s"] = statistics.median(each["drawn"] for each in times[side])
        rows.append(row)
    return goals(rows, missing, f"{options.images:,} pairs x {options.dim}, commit {options.before}"), rows


def goals(rows: list[dict[str, Any]], missing: str, of: str) -> list[Goal]:
    """The first picture and the writing, beside the earlier commit's."""
    before, now = rows
    first = None if missing else now["first picture s"] / before["first picture s"]
    written = now["report s"] / before["report s"]
    return [
        Goal("first picture of a page", first, FIRST, why=missing or f"of the seconds of {of}"),
        Goal("writing a page", written, WRITING + NOISE, why=f"of the seconds of {of}; 0.05 is noise"),
    ]


def main() -> None:
    """Measure beside the earlier tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--before", default=BEFORE, metavar="REVISION")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tree_of(options.before) as before:
        found, rows = measured(options, before)
    report("Pages", found, rows, options.out)


if __name__ == "__main__":
    main()
