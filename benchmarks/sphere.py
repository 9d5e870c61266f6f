"""DOSNES beside the spherical UMAP of umap-learn, in one run: seconds, peak memory, and what the maps keep.

python benchmarks/sphere.py [--points 10000] [--dim 512] [--embeddings FILE.npz] [--large 100000] [--out FILE.json]

Each fit is a process of its own, timed after a smaller one that compiles what numba compiles. Quality is measured
with great-circle neighbours, which are the Euclidean ones of unit rows, all points against all up to 20,000 points.
NUMBA_NUM_THREADS and OMP_NUM_THREADS say how many cores are used; a seeded UMAP lays out on one.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

GOALS = {"share_of_umap_time": 0.2}
K = 15
MEASURED_UP_TO = 20_000


def made(points: int, dim: int, clusters: int = 100) -> np.ndarray:
    """Unit rows like CLIP's: half images, half their texts, each in a cone of its own, about shared concepts.

    Directions have variances 1/1, 1/2, 1/3 … as a spectrum of real embeddings falls; concepts lie in clusters.
    """
    generator = torch.Generator().manual_seed(0)
    images = points - points // 2
    scale = torch.arange(1, dim + 1).float().rsqrt()

    def normal(rows: int) -> torch.Tensor:
        return torch.randn(rows, dim, generator=generator) * scale

    concept = normal(clusters)[torch.randint(clusters, (images,), generator=generator)] + 0.7 * normal(images)
    cones = torch.nn.functional.normalize(torch.randn(2, dim, generator=generator), dim=1) * 1.5 * scale.norm()
    image = concept + 0.6 * normal(images) + cones[0]
    text = concept[: points // 2] + 0.6 * normal(points // 2) + cones[1]
    return torch.nn.functional.normalize(torch.cat([image, text]), dim=1).numpy()


def read(path: Path) -> np.ndarray:
    """Images, then texts, of an .npz file."""
    with np.load(path) as held:
        return np.concatenate([held["image"], held["text"]]).astype(np.float32)


def dosnes(x: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
    """Our map, and how it was made."""
    from geomclip.projections import DOSNES

    fitted = DOSNES(random_state=0).fit(x)
    names = ("method_", "n_iter_", "radius_", "kl_divergence_")
    return fitted.embedding_, {name.strip("_"): getattr(fitted, name) for name in names}


def umap(x: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
    """umap-learn's; its first angle is a colatitude for its layout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no TensorFlow; one thread because of the seed
        import umap as package

        angles = package.UMAP(metric="cosine", output_metric="haversine", random_state=0).fit_transform(x)
    first, second = angles.astype(np.float64).T
    rows = np.stack([np.sin(first) * np.cos(second), np.sin(first) * np.sin(second), np.cos(first)], axis=1)
    return rows, {"version": package.__version__}


METHODS = {"dosnes": dosnes, "umap": umap}


def fit(method: str, data: Path, out: Path) -> None:
    """One map in this process: its rows to `out`, its figures as a line of JSON."""
    x = np.load(data)
    METHODS[method](x[:: max(1, len(x) // 4000)])  # compiles: 4,000 points take the paths that the whole takes
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    begin, cpu = time.perf_counter(), time.process_time()
    rows, made_by = METHODS[method](x)
    figures = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu}
    figures["peak_gb"] = peak_gb()
    np.save(out, rows)
    print(json.dumps(figures | made_by))


def peak_gb() -> float:
    """Most memory that this process has held since it was told to forget, libraries and data included; Linux only."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20


def compared(x: np.ndarray, methods: list[str]) -> dict[str, dict[str, object]]:
    """Every method on these rows, each in a process of its own."""
    from geomclip.metrics import continuity, trustworthiness

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "x.npy", Path(folder) / "rows.npy"
        np.save(data, x)
        for method in methods:
            command = [sys.executable, __file__, "--fit", method, str(data), str(out)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[method] = json.loads(done.stdout.splitlines()[-1])
            if len(x) <= MEASURED_UP_TO:
                rows = np.load(out)
                results[method]["trustworthiness"] = float(trustworthiness(x, rows, k=K))
                results[method]["continuity"] = float(continuity(x, rows, k=K))
    return results


def shown(name: str, x: np.ndarray, results: dict[str, dict[str, object]]) -> None:
    """One table."""
    print(f"{name}, {len(x):,} x {x.shape[1]}", flush=True)
    print(f"  {'':8}{'seconds':>9}{'CPU s':>9}{'peak GB':>9}{'trust':>9}{'contin.':>9}")
    for method, result in results.items():
        keys = ("seconds", "cpu_seconds", "peak_gb", "trustworthiness", "continuity")
        formats = (".1f", ".1f", ".2f", ".4f", ".4f")
        cells = [format(result[key], form) if key in result else "" for key, form in zip(keys, formats, strict=True)]
        print(f"  {method:8}" + "".join(f"{cell:>9}" for cell in cells))
    if len(results) == 2:
        share = results["dosnes"]["seconds"] / results["umap"]["seconds"]
        print(f"  dosnes takes {share:.3f} of the time of umap (goal: {GOALS['share_of_umap_time']} at most)")


def main() -> None:
    """Print the tables; write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--embeddings", type=Path, help="real vectors beside: an .npz with `image` and `text`")
    parser.add_argument("--large", type=int, help="DOSNES alone at this many points, as 100000")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fit", nargs=3, metavar=("METHOD", "DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit is not None:
        fit(options.fit[0], Path(options.fit[1]), Path(options.fit[2]))
        return

    cases = [("two cones, made", lambda: made(options.points, options.dim), ["umap", "dosnes"])]
    if options.embeddings is not None:
        cases.append((options.embeddings.parent.name, lambda: read(options.embeddings), ["umap", "dosnes"]))
    if options.large is not None:
        cases.append(("two cones, made", lambda: made(options.large, options.dim), ["dosnes"]))
    import numba

    threads = f"{numba.get_num_threads()} threads"
    tables = []
    for name, rows, methods in cases:
        x = rows()
        results = compared(x, methods)
        shown(name, x, results)
        tables.append({"data": name, "points": len(x), "dim": x.shape[1], "k": K, "methods": results})
    if options.out is not None:
        machine = f"{platform.processor() or platform.machine()}, {threads}"
        text = json.dumps({"machine": machine, "torch": torch.__version__, "tables": tables}, indent=2)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
