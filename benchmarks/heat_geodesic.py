"""Time, peak memory and truth of `HeatGeodesic` on Swiss rolls, plain and turned into many dimensions.

python benchmarks/heat_geodesic.py [--points 2000 5000 50000] [--dimensions 3 512] [--height 21] [--noise 0.1]
                                   [--isomap] [--out FILE.json]

Each size runs in a process of its own, whose largest resident memory is its peak; imports are in the time, since
somebody who waits waits for them too, and the seconds that the processors worked are said beside it, which other
work on the machine moves less. The truth is Pearson's and Spearman's correlation of the drawn distances with those
along the roll, over 200,000 pairs. With --isomap scikit-learn's Isomap (10 neighbours) takes part up to 5,000 points.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alone import alone
from goal import Goal, report

LIMITS = {50_000: (120.0, 4.0)}
"""Points: seconds on two cores, GB."""

PAIRS = 200_000


def one(options: argparse.Namespace, method: str, n: int, d: int) -> dict[str, object]:
    """A row of the table, measured in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    import numpy as np
    from scipy.stats import pearsonr, spearmanr

    draw = np.random.default_rng(options.seed)
    t, h = 1.5 * np.pi * (1 + 2 * draw.random(n)), options.height * draw.random(n)
    flat = np.stack([(t * np.sqrt(t * t + 1) + np.arcsinh(t)) / 2, h], axis=1)
    x = np.stack([t * np.cos(t), h, t * np.sin(t)], axis=1)
    if d > 3:
        x = x @ np.linalg.qr(draw.standard_normal((d, 3)))[0].T
    # the length of the noise is that of three dimensions: what makes a graph hard is how far it reaches
    x = (x + options.noise * np.sqrt(3 / d) * draw.standard_normal((n, d))).astype(np.float32)
    if method == "isomap":
        from sklearn.manifold import Isomap

        estimator = Isomap(n_neighbors=10)
    else:
        from geomclip.projections.heat.heat_geodesic import HeatGeodesic

        estimator = HeatGeodesic(random_state=options.seed)
    drawn = estimator.fit_transform(x)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    i, j = draw.integers(n, size=(2, PAIRS))
    true, found = (np.linalg.norm(y[i] - y[j], axis=1) for y in (flat, drawn))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    row = {"method": method, "points": n, "dimensions": d, "seconds": wall, "CPU s": cpu, "peak_gb": peak}
    row |= {"pearson": float(pearsonr(true, found)[0]), "spearman": float(spearmanr(true, found)[0])}
    return row


def main() -> None:
    """Print the table and whether the goals are met; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[2_000, 5_000, 50_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[3, 512])
    parser.add_argument("--height", type=float, default=21.0)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--isomap", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        method, n, d = options.one
        print(json.dumps(one(options, method, int(n), int(d))))
        return
    same = [f"--{name}={getattr(options, name)}" for name in ("height", "noise", "seed")]
    rows = []
    for d in options.dimensions:
        for n in options.points:
            for method in ["heat-geodesic", *(["isomap"] if options.isomap and n <= 5_000 else [])]:
                rows.append(alone(__file__, "--one", method, n, d, *same))
                print(f"{method}, {n:,} x {d}: {rows[-1]['seconds']:.1f} s", flush=True)
    report(__doc__.splitlines()[0], list(goals(rows)), rows, options.out)


def goals(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    """Seconds and memory of the sizes that have a limit."""
    for n, (seconds, memory) in LIMITS.items():
        ours = [row for row in rows if row["points"] == n and row["method"] == "heat-geodesic"]
        if not ours:
            yield Goal(f"heat-geodesic, {n:,} points", None, seconds, "s", why=f"{n} was not among --points")
        for row in ours:
            name = f"heat-geodesic, {n:,} x {row['dimensions']}"
            yield Goal(name, row["seconds"], seconds, "s", why="imports included")
            yield Goal(f"{name}, memory", row["peak_gb"], memory, "GB", why="all that the process holds")


if __name__ == "__main__":
    main()
