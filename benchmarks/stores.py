"""Stores larger than the memory that the system leaves: whether they are measured and compared within it, and alike.

python benchmarks/stores.py [--images 100000] [--texts-per-image 3] [--dim 512] [--room 0.4] [--compared 4000]
                            [--out FILE.json]

Made vectors are written to a store; a process of its own imports what measuring needs, has the system limit its data
(RLIMIT_DATA) to what it holds by then and --room GB (1e9 bytes) more, and measures the default panel without intervals.
The goal is the most that VmData had above the imports, sampled twenty times a second, as a share of the room; a process
that would take more gets no memory and ends. At --compared images the panel is measured once more with a room that
rows do not fit into and once without a limit, and so are two stores compared: every number must have the same bits.
What the files cost is in processor seconds: those with a limit over those without.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alone import alone
from goal import Goal, report

EVERY = 0.05
"""Seconds between looks at VmData."""

SMALL = 0.25
"""GB of room where panels are compared; blocks, buffers and what libraries keep take most of it, by processor."""

OF_OTHER = 0.03
"""GB more for the names and numbers of a second side."""

SLOWER = 1.5
"""How much more processor time rows in files may take."""


def data_gb() -> float:
    """VmData of this process in GB (1e9 bytes): what is private and can be written, files apart."""
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024 / 1e9


@contextmanager
def watched() -> Iterator[dict[str, Any]]:
    """Seconds, those that the cores worked, and the most that VmData grows by, of what is done inside."""
    found: dict[str, Any] = {"peak_gb": 0.0}
    held, done = data_gb(), threading.Event()

    def look() -> None:
        while not done.wait(EVERY):
            found["peak_gb"] = max(found["peak_gb"], data_gb() - held)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    begin, worked = time.perf_counter(), time.process_time()
    yield found
    found |= {"seconds": time.perf_counter() - begin, "worked": time.process_time() - worked}
    done.set()
    looking.join()


def one(room: float, *stores: str) -> None:
    """Measure a store in this process within so many GB, or compare two; 0 is no limit."""
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # what geomclip asks for itself where there is a limit
    import pyarrow.parquet  # noqa: F401  (one of the imports)

    from geomclip.embeddings.store import load
    from geomclip.machine import scratch
    from geomclip.metrics.sweep import load_kernels
    from geomclip.panels import compare
    from geomclip.panels.measurement import measure

    load_kernels()
    held = data_gb()
    if room:
        resource.setrlimit(resource.RLIMIT_DATA, (int((held + room) * 1e9), resource.RLIM_INFINITY))
    with watched() as found:
        if len(stores) > 1:
            rows = compare(*stores, bootstrap=0, cache_dir=f"{stores[0]}-nulls-{room:g}").rows  # simulated by each
            numbers = {key: repr((row.before, row.after)) for key, row in rows.items()}
        else:
            panel = measure(load(stores[0]), bootstrap=0)
            numbers = {key: repr(each) for key, each in (*panel.values.items(), *panel.null.items())}
    print(json.dumps(found | {"imports_gb": held, "files": scratch.note(), "numbers": numbers}))


def main() -> None:
    """Make the stores, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--texts-per-image", type=int, default=3)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--room", type=float, default=0.4)
    parser.add_argument("--compared", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from made import made

    from geomclip.embeddings.store import save

    def write(images: int, place: Path, *, turned: bool = False) -> Path:
        embeddings = made(images, options.texts_per_image, options.dim)
        assert embeddings.text is not None
        return save(embeddings.replace(text=embeddings.text + 0.02) if turned else embeddings, place)

    table: list[dict[str, Any]] = []
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        large, before, after = (Path(folder) / name for name in ("large", "before", "after"))
        write(options.images, large)
        write(options.compared, before)
        write(options.compared, after, turned=True)
        for name, room, *stores in (
            ("large", options.room, large),
            ("measured within a limit", SMALL, before),
            ("measured without", 0.0, before),
            ("compared within a limit", SMALL + OF_OTHER, before, after),
            ("compared without", 0.0, before, after),
        ):
            images = options.images if name == "large" else options.compared
            found[name] = each = alone(__file__, "--one", room, *stores)
            rows = images * (1 + options.texts_per_image) * options.dim * 4 / 1e9 * len(stores)
            peak = {"rows GB": rows, "room GB": room or None, "peak GB": each["peak_gb"]}
            table.append({"what": name, "images": images} | peak | {"s": each["seconds"], "CPU s": each["worked"]})
    why = f"of {options.room:g} GB above the imports, by VmData; {options.images:,} images, dimension {options.dim}"
    goals = [Goal("memory of a large store", found["large"]["peak_gb"] / options.room, 1.0, why=why)]
    for what in ("measured", "compared"):
        within, without = found[f"{what} within a limit"], found[f"{what} without"]
        differing = [key for key, each in within["numbers"].items() if without["numbers"].get(key) != each]
        of = f"{options.compared:,} images: {', '.join(differing) or 'none'}, of {len(within['numbers'])} numbers"
        goals += [
            Goal(f"{what}: numbers that differ", len(differing), 0, unit="", why=of),
            Goal(
                f"{what}: processor time", within["worked"] / without["worked"], SLOWER, why="of that without a limit"
            ),
        ]
    report("Stores larger than memory", goals, table, options.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(float(sys.argv[2]), *sys.argv[3:])
    else:
        main()
