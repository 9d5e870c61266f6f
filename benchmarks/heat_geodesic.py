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
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

GOALS = {50_000: (120.0, 4.0)}
"""Points: seconds on two cores, GB."""

PAIRS = 200_000


def one(options: argparse.Namespace, method: str, n: int, d: int) -> dict[str, object]:
    """A row of the table, measured in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    import numpy as np
    import torch
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
        from geomclip.projections.heat_geodesic import HeatGeodesic

        estimator = HeatGeodesic(random_state=options.seed)
    drawn = estimator.fit_transform(x)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    i, j = draw.integers(n, size=(2, PAIRS))
    true, found = (np.linalg.norm(y[i] - y[j], axis=1) for y in (flat, drawn))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    row = {"method": method, "points": n, "dimensions": d, "seconds": wall, "processor_seconds": cpu, "peak_gb": peak}
    row |= {"pearson": float(pearsonr(true, found)[0]), "spearman": float(spearmanr(true, found)[0])}
    return row | {"threads": torch.get_num_threads(), "load": os.getloadavg()[0]}


def main() -> None:
    """Print a line for each size, and whether the goals are met."""
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
                command = [sys.executable, __file__, "--one", method, str(n), str(d), *same]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                rows.append(row := json.loads(done.stdout.splitlines()[-1]))
                spent = f"{row['seconds']:6.1f} s ({row['processor_seconds']:.1f} of processors)"
                truth = f"Pearson {row['pearson']:.4f}, Spearman {row['spearman']:.4f}"
                print(f"{method:13} {n:6,} x {d:3}: {spent}, peak {row['peak_gb']:.2f} GB, {truth}", end="")
                if n in GOALS:
                    seconds, memory = GOALS[n]
                    met = row["seconds"] <= seconds and row["peak_gb"] <= memory
                    print(f"; goal {seconds:g} s and {memory:g} GB {'met' if met else 'missed'}", end="")
                print(flush=True)
    print(f"{rows[0]['threads']} threads, {platform.machine()}, load {rows[-1]['load']:.1f}, seed {options.seed}")
    if options.out:
        options.out.write_text(json.dumps({"goals": GOALS, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
