"""A store larger than the memory that the system leaves: whether the panel is measured within it, and is the same.

python benchmarks/stores.py [--images 100000] [--texts-per-image 3] [--dim 512] [--room 0.4] [--compared 4000]
                            [--out FILE.json]

Made vectors are written to a store; a process of its own imports what measuring needs, has the system limit its data
(RLIMIT_DATA) to what it holds by then and --room GB (1e9 bytes) more, and measures the default panel without intervals.
The goal is the most that VmData had above the imports, sampled twenty times a second, as a share of the room; a process
that would take more gets no memory and ends. At --compared images the panel is measured once more with a room that
rows do not fit into and once without a limit: every number must have the same bits.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from alone import alone
from goal import Goal, report

EVERY = 0.05
"""Seconds between looks at VmData."""

SMALL = 0.15
"""GB of room where panels are compared; blocks, buffers and libraries take half of it."""


def data_gb() -> float:
    """VmData of this process in GB (1e9 bytes): what is private and can be written, files apart."""
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024 / 1e9


def one(store: str, room: float) -> None:
    """Measure a store in this process within so many GB; 0 is no limit."""
    import pyarrow.parquet  # noqa: F401  (one of the imports)

    from geomclip.embeddings.store import load
    from geomclip.machine import scratch
    from geomclip.metrics.sweep import load_kernels
    from geomclip.panels.measurement import measure

    load_kernels()
    held, most, done = data_gb(), [0.0], threading.Event()

    def look() -> None:
        while not done.wait(EVERY):
            most[0] = max(most[0], data_gb() - held)

    if room:
        resource.setrlimit(resource.RLIMIT_DATA, (int((held + room) * 1e9), resource.RLIM_INFINITY))
    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    begin = time.perf_counter()
    panel = measure(load(store), bootstrap=0)
    done.set()
    looking.join()
    found: dict[str, Any] = {"seconds": time.perf_counter() - begin, "peak_gb": most[0], "imports_gb": held}
    numbers = {key: repr(each) for key, each in (*panel.values.items(), *panel.null.items())}
    print(json.dumps(found | {"files": scratch.note(), "numbers": numbers}))


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

    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, images, room in (
            ("large", options.images, options.room),
            ("compared", options.compared, SMALL),
            ("no limit", options.compared, 0.0),
        ):
            store = Path(folder) / str(images)
            if not store.exists():
                save(made(images, options.texts_per_image, options.dim), store)
            found[name] = each = alone(__file__, "--one", store, room)
            rows = images * (1 + options.texts_per_image) * options.dim * 4 / 1e9
            limits = {"rows GB": rows, "room GB": room or None, "peak GB": each["peak_gb"], "s": each["seconds"]}
            table.append({"what": name, "images": images} | limits)
        differing = [
            key for key, each in found["compared"]["numbers"].items() if found["no limit"]["numbers"][key] != each
        ]
    why = f"of {options.room:g} GB above the imports, by VmData; {options.images:,} images, dimension {options.dim}"
    goals = [
        Goal("memory of a large store", found["large"]["peak_gb"] / options.room, 1.0, why=why),
        Goal("numbers that differ within a limit", len(differing), 0, unit="", why=f"{', '.join(differing) or 'none'}"),
    ]
    report("Stores larger than memory", goals, table, options.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], float(sys.argv[3]))
    else:
        main()
