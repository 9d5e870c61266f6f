"""Does a sphere tell the truth: how wide are clouds drawn, how far apart, and what angles and neighbours does it keep?

    python analyses/sphere.py --embeddings FILE.npz     # figures/sphere.md, figures/sphere.csv
    python analyses/sphere.py --data emoji --limit 60   # a part of the built-in pairs only, to try it

Sets: vectors of an .npz (`--embeddings`, not in this repository: 100 photos of Flickr8k and their 500 captions by CLIP
ViT-B/32), the built-in pairs by the demo model, and two made of the first: `collapsed`, both clouds drawn together
to a twentieth of their width about their means, and `shifted`, moved apart along the line of their means. Maps:
`angles` (SphericalMDS), the same without its constraint, DOSNES, and UMAP on the sphere. One fit each after one that
compiles.
"""

# %%
from __future__ import annotations

import argparse
import csv
import io
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

import geomclip as gc
from geomclip.machine.files import atomic_bytes
from geomclip.metrics import mean_cosine, modality_gap, trustworthiness
from geomclip.projections.maps import PointSet

FIGURES = Path(__file__).resolve().parents[1] / "figures"
NEAREST = 5
COLLAPSED, SHIFTED = 20, 0.8
"""What the width of both clouds is divided by; what of the gap each mean is moved further by."""

HEADS = {
    "set": "set", "map": "map", "mean_cosine_image": "cos images", "mean_cosine_image_drawn": "drawn",
    "mean_cosine_text": "cos texts", "mean_cosine_text_drawn": "drawn", "gap": "gap", "gap_drawn": "drawn",
    "worst": "furthest off", "angle_error": "angle error", "trustworthiness": f"trustw. ({NEAREST})", "seconds": "s",
}  # fmt: skip

# %% [markdown]
# ## The sets


# %%
def sets_of(options: argparse.Namespace) -> Iterator[tuple[str, gc.EmbeddingSet]]:
    """Each set with its name."""
    built_in = gc.embed("demo", options.data, limit=options.limit)
    first = built_in if options.embeddings is None else gc.load(options.embeddings)
    if options.embeddings is not None:
        yield options.embeddings.parent.name, first
    yield options.data, built_in
    image, text = first.image.mean(0), first.text.mean(0)
    yield "collapsed", moved(first, (COLLAPSED - 1) * image, (COLLAPSED - 1) * text)
    yield "shifted", moved(first, SHIFTED * (image - text), SHIFTED * (text - image))


def moved(embeddings: gc.EmbeddingSet, image: torch.Tensor, text: torch.Tensor) -> gc.EmbeddingSet:
    """The set with a vector added to all its images and one to all its texts; rows are unit again."""
    return embeddings.replace(image=embeddings.image + image, text=embeddings.text + text)


# %% [markdown]
# ## The maps


# %%
def angles(points: PointSet, *, moments: bool = True) -> NDArray[Any]:
    """The map that keeps angles."""
    return gc.projections.SphericalMDS(moments=moments).fit_transform(points.rows, **points.clouds).numpy()


def free(points: PointSet) -> NDArray[Any]:
    """The same with no moments to hold."""
    return angles(points, moments=False)


def dosnes(points: PointSet) -> NDArray[Any]:
    """Neighbours, spread evenly."""
    perplexity = min(30.0, (len(points.rows) - 1) / 3)
    return gc.projections.DOSNES(perplexity).fit_transform(points.rows).numpy()


def umap(points: PointSet) -> NDArray[Any]:
    """Neighbours, by a graph."""
    neighbors = min(15, len(points.rows) - 1)
    return gc.projections.UMAP(n_neighbors=neighbors, output="sphere").fit_transform(points.rows).numpy()


MAPS: Mapping[str, Callable[[PointSet], NDArray[Any]]] = {
    "angles": angles, "angles, not constrained": free, "dosnes": dosnes, "umap": umap,
}  # fmt: skip

# %% [markdown]
# ## What they keep


# %%
def kept(points: PointSet, drawn: NDArray[Any]) -> dict[str, float]:
    """Moments, true and drawn, and what is kept of angles and neighbours."""
    images, at = len(points.set.image), torch.from_numpy(drawn).double()
    rows = points.rows.double()
    found: dict[str, float] = {}
    for name, some in (("image", slice(0, images)), ("text", slice(images, None))):
        found[f"mean_cosine_{name}"] = mean_cosine(rows[some]).item()
        found[f"mean_cosine_{name}_drawn"] = mean_cosine(at[some]).item()
    found["gap"] = modality_gap(rows[:images], rows[images:]).item()
    found["gap_drawn"] = modality_gap(at[:images], at[images:]).item()
    found["worst"] = max(abs(found[f"{key}_drawn"] - found[key]) for key in list(found) if f"{key}_drawn" in found)
    found["angle_error"] = angle_error(rows, at, points.clouds["groups"], points.clouds["sample_weight"])
    found["trustworthiness"] = trustworthiness(rows, at, k=NEAREST).item()
    return found


def angle_error(rows: torch.Tensor, at: torch.Tensor, group: torch.Tensor, weight: torch.Tensor) -> float:
    """Root mean square difference of drawn and true angles, in radians: images, texts and across count a third each."""
    squares = ((at @ at.T).clamp(-1, 1).arccos() - (rows @ rows.T).clamp(-1, 1).arccos()).square()
    pairs = torch.outer(weight, weight).triu(1)
    kind = group[:, None].long() + group
    means = [(squares * pairs)[kind == each].sum() / pairs[kind == each].sum() for each in range(3)]
    return float(torch.stack(means).mean().sqrt())


def table(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a set and map."""
    rows = []
    for name, embeddings in sets_of(options):
        points = PointSet.of(embeddings)
        for method, draw in MAPS.items():
            if not rows or method not in {row["map"] for row in rows}:
                draw(points)  # compiles
            began = time.perf_counter()
            drawn = draw(points)
            seconds = time.perf_counter() - began
            rows.append({"set": name, "map": method, **kept(points, drawn), "seconds": seconds})
            print(f"{name}, {method}: {seconds:.1f} s", file=sys.stderr)
    return rows


# %% [markdown]
# ## The table


# %%
def markdown(rows: Sequence[Mapping[str, Any]], command: str) -> str:
    """The table, and what made it."""
    lines = [
        "# What maps on the sphere keep of the first moments, of angles and of neighbours",
        "",
        f"Made by `{command}`. `furthest off`: the largest difference of a drawn mean cosine or gap from the true one.",
        "Angle error: root mean square, in radians; pairs of images, of texts and across count a third each.",
        "",
        f"| {' | '.join(HEADS.values())} |",
        f"|{'---|' * 2}{'---:|' * (len(HEADS) - 2)}",
    ]
    for row in rows:
        cells = [value if isinstance(value := row[key], str) else _digits(key, value) for key in HEADS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _digits(key: str, value: float) -> str:
    return f"{value + 0.0:.2f}" if key == "seconds" else f"{value + 0.0:.3f}"


def text_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same as CSV, to six digits."""
    out = io.StringIO()
    writer = csv.DictWriter(out, HEADS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: row[key] if isinstance(row[key], str) else f"{row[key]:.6g}" for key in HEADS})
    return out.getvalue()


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=Path, metavar="FILE.npz", help="real vectors, the first set")
    parser.add_argument("--data", default="emoji", help="what the demo model encodes")
    parser.add_argument("--limit", type=int, help="images of --data")
    parser.add_argument("--out", type=Path, default=FIGURES, metavar="FOLDER")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, measure, write."""
    options = parsed(arguments)
    rows = table(options)
    words = ["python", "analyses/sphere.py"]
    if options.embeddings is not None:
        words += ["--embeddings", "/".join(options.embeddings.parts[-2:])]
    words += ["--limit", str(options.limit)] if options.limit else []
    options.out.mkdir(parents=True, exist_ok=True)
    atomic_bytes(options.out / "sphere.md", markdown(rows, shlex.join(words)).encode())
    atomic_bytes(options.out / "sphere.csv", text_of(rows).encode())


if __name__ == "__main__":
    main()
