"""Maps on the sphere in one run: DOSNES beside the spherical UMAP of umap-learn, angles beside DOSNES, what they keep.

python benchmarks/sphere.py [--points 10000] [--dim 512] [--turns 1] [--embeddings FILE.npz] [--large 100000]
                            [--maps umap dosnes angles] [--out FILE.json]

Each fit is a process of its own, timed after a smaller one that compiles what numba compiles; with --turns they come
in turns, and medians are told. Quality is measured with great-circle neighbours, which are the Euclidean ones of unit
rows, all points against all up to 20,000 points. NUMBA_NUM_THREADS and OMP_NUM_THREADS say how many cores are used; a
seeded UMAP lays out on one.
"""

import argparse
import json
import statistics
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alone import alone, measured, memory_gb
from goal import Goal, report

SHARE = 0.2
"""Of the time of spherical UMAP that DOSNES may take, with at least its trustworthiness."""

ANGLES_SHARE = 0.5
"""Of the time of DOSNES that the map of angles may take."""

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


def angles(x: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
    """The map that keeps angles and the moments of both halves, images and texts."""
    from geomclip.projections import SphericalMDS

    fitted = SphericalMDS(random_state=0).fit(x, groups=np.arange(len(x)) >= len(x) - len(x) // 2)
    return fitted.embedding_, {"n_iter": fitted.n_iter_, "angle_error": fitted.angle_error_}


METHODS = {"dosnes": dosnes, "umap": umap, "angles": angles}


def fit(method: str, data: Path, out: Path) -> None:
    """One map in this process: its rows to `out`, its figures as a line of JSON."""
    x = np.load(data)
    METHODS[method](x[:: max(1, len(x) // 4000)])  # compiles: 4,000 points take the paths that the whole takes
    (rows, made_by), figures = measured(lambda: METHODS[method](x))
    figures["peak_gb"] = memory_gb("VmHWM")  # libraries and data included
    np.save(out, rows)
    print(json.dumps(figures | made_by))


def compared(name: str, x: np.ndarray, methods: list[str], turns: int) -> list[dict[str, Any]]:
    """A row a method on these points, each fit in a process of its own."""
    from geomclip.metrics import continuity, trustworthiness

    fits: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    kept: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "x.npy", Path(folder) / "rows.npy"
        np.save(data, x)
        for _ in range(turns):
            for method, done in fits.items():
                done.append(alone(__file__, "--fit", method, data, out))
                if len(x) <= MEASURED_UP_TO and method not in kept:
                    kept[method] = {"trust": float(trustworthiness(x, np.load(out), k=K))}
                    kept[method]["contin."] = float(continuity(x, np.load(out), k=K))
    rows = []
    for method, done in fits.items():
        row: dict[str, Any] = {"map": method, "data": name, "points": len(x), "dim": x.shape[1]}
        for head, key in (("seconds", "seconds"), ("CPU s", "cpu_seconds"), ("GB", "peak_gb")):
            row[head] = statistics.median(each[key] for each in done)
        figures = ("seconds", "cpu_seconds", "peak_gb")
        rows.append(row | kept.get(method, {}) | {key: each for key, each in done[0].items() if key not in figures})
    return rows


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Time and truth of our map beside the other's, for each set that both have drawn."""
    found = []
    for umap, dosnes in pairwise(rows):
        if (umap["map"], dosnes["map"]) == ("dosnes", "angles") and umap["data"] == dosnes["data"]:
            found.append(angles_goal(umap, dosnes))
        if (umap["map"], dosnes["map"]) != ("umap", "dosnes") or umap["data"] != dosnes["data"]:
            continue
        name, of = dosnes["data"], f"{dosnes['points']:,} x {dosnes['dim']}"
        share = dosnes["seconds"] / umap["seconds"]
        found.append(Goal(f"DOSNES, {name}", share, SHARE, why=f"of the time of spherical UMAP, {of}"))
        if "trust" in umap:
            why = f"of its trustworthiness, k = {K}, great circles"
            found.append(Goal(f"its truth, {name}", dosnes["trust"] / umap["trust"], 1.0, better="higher", why=why))
    return found


def angles_goal(dosnes: dict[str, Any], angles: dict[str, Any]) -> Goal:
    """Time of the map of angles beside DOSNES."""
    why = f"of the time of DOSNES, {angles['points']:,} x {angles['dim']}"
    return Goal(f"angles, {angles['data']}", angles["seconds"] / dosnes["seconds"], ANGLES_SHARE, why=why)


def main() -> None:
    """Draw every set by every method, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=1, help="a fit of UMAP takes a minute: one will do")
    parser.add_argument("--embeddings", type=Path, help="real vectors beside: an .npz with `image` and `text`")
    parser.add_argument("--maps", nargs="+", choices=METHODS, default=["umap", "dosnes", "angles"])
    parser.add_argument("--large", type=int, help="DOSNES alone at this many points, as 100000")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fit", nargs=3, metavar=("METHOD", "DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit is not None:
        fit(options.fit[0], Path(options.fit[1]), Path(options.fit[2]))
        return

    rows = compared("two cones", made(options.points, options.dim), options.maps, options.turns)
    if options.embeddings is not None:
        rows += compared(options.embeddings.parent.name, read(options.embeddings), options.maps, options.turns)
    if options.large is not None:
        rows += compared("two cones", made(options.large, options.dim), ["dosnes"], 1)
    report("Maps on the sphere", goals(rows), rows, options.out)


if __name__ == "__main__":
    main()
