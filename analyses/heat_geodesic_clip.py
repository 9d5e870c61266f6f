"""Vectors of a CLIP drawn by heat and by UMAP and t-SNE: what each map tells of angles, of the gap, and of classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from heat_geodesic_data import Floats
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

import geomclip as gc
from geomclip.metrics.projection import continuity, trustworthiness
from geomclip.projections import TSNE, UMAP, HeatGeodesic
from geomclip.projections.heat.graphs import neighbor_graph

K = 15
AT_MOST = 1500
"""Rows drawn; of larger sets that many are taken, seeded, images and texts in the proportion of the set."""


def rows_of(path: Path) -> tuple[Floats, Floats, Floats | None]:
    """Unit image rows, unit text rows, and class labels of the images where there are any."""
    made = gc.embed("demo") if str(path) == "demo" else gc.load(path)
    image = made.image.numpy().astype(np.float64)
    text = (made.text if made.text is not None else made.class_text).numpy().astype(np.float64)
    labels = None if made.labels is None else made.labels.numpy()
    share = min(1.0, AT_MOST / (len(image) + len(text)))
    if share < 1:
        draw = np.random.default_rng(0)
        image, text = (each[np.sort(draw.permutation(len(each))[: int(share * len(each))])] for each in (image, text))
    return image, text, labels


def maps_of(x: Floats) -> tuple[dict[str, Floats], HeatGeodesic]:
    """The maps of unit rows by name, and the estimator that has the heat distances."""
    heat = HeatGeodesic(metric="angular")
    maps = {
        "heat geodesic": heat.fit_transform(x),
        "UMAP": UMAP().fit_transform(x),
        "t-SNE": TSNE(n_jobs=1).fit_transform(x),
    }
    return maps, heat


def angles(x: Floats) -> Floats:
    """Between all unit rows, in radians: (n, n)."""
    return np.arccos(np.clip(x @ x.T, -1, 1))


def kept(apart: Floats, drawn: Floats, part: np.ndarray) -> dict[str, float]:
    """Correlation of distances over the pairs (i < j) that `part` holds."""
    return {
        "pearson": float(pearsonr(apart[part], drawn[part]).statistic),
        "spearman": float(spearmanr(apart[part], drawn[part]).statistic),
    }


def across(apart: Floats, is_image: np.ndarray) -> float:
    """Mean distance of an image and a text, over the mean distance within a modality: 1 where there is no gap."""
    other = is_image[:, None] != is_image
    within = ~other & ~np.eye(len(apart), dtype=bool)
    return float(apart[other].mean() / apart[within].mean())


def joint(image: Floats, text: Floats) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Both modalities in one map."""
    x = np.concatenate([image, text])
    is_image = np.arange(len(x)) < len(image)
    maps, heat = maps_of(x)
    full = angles(x)
    upper = np.triu(np.ones(full.shape, dtype=bool), 1)
    other = is_image[:, None] != is_image
    graph = neighbor_graph(x, k=K, metric="angular")
    cross = graph.weights.tocoo()
    results: dict[str, Any] = {
        "rows": [len(image), len(text)],
        "gap": float(np.linalg.norm(image.mean(axis=0) - text.mean(axis=0))),
        "parts_of_the_graph": heat.n_connected_components_,
        "edges_across": float(np.mean(is_image[cross.coords[0]] != is_image[cross.coords[1]])),
        "across_over_within": {"angles": across(full, is_image), "heat distances": across(heat.distances_, is_image)},
        "heat_distances": {
            "all pairs": kept(full, heat.distances_, upper),
            "within a modality": kept(full, heat.distances_, upper & ~other),
        },
        "maps": {},
    }
    for name, points in maps.items():
        drawn = squareform(pdist(points))
        results["across_over_within"][name] = across(drawn, is_image)
        results["maps"][name] = {
            "all pairs": kept(full, drawn, upper),
            "within a modality": kept(full, drawn, upper & ~other),
            "across": kept(full, drawn, upper & other),
            "trustworthiness": float(trustworthiness(x, points, k=K)),
            "continuity": float(continuity(x, points, k=K)),
        }
    return results, {**maps, "is_image": is_image.astype(float)}


def classes(image: Floats, labels: Floats) -> dict[str, Any]:
    """Images alone, with what their classes say: are near classes drawn near, are classes clusters?"""
    names = np.unique(labels)

    def centers(points: Floats) -> Floats:
        return np.stack([points[labels == each].mean(axis=0) for each in names])

    maps, heat = maps_of(image)
    full = angles(image)
    upper = np.triu(np.ones(full.shape, dtype=bool), 1)
    wanted = pdist(centers(image))
    results: dict[str, Any] = {
        "rows": len(image),
        "classes": len(names),
        "parts_of_the_graph": heat.n_connected_components_,
    }
    for name, points in maps.items():
        found = KMeans(len(names), n_init=10, random_state=0).fit_predict(StandardScaler().fit_transform(points))
        results[name] = {
            "all pairs": kept(full, squareform(pdist(points)), upper),
            "centres of classes": float(pearsonr(wanted, pdist(centers(points))).statistic),
            "ari": float(adjusted_rand_score(labels, found)),
            "trustworthiness": float(trustworthiness(image, points, k=K)),
        }
    return results


def compute_clip(study: Path, path: Path) -> None:
    """Numbers of one set as clip/NAME.json, and its maps beside them."""
    image, text, labels = rows_of(path)
    name = "demo" if str(path) == "demo" else path.resolve().parent.name if path.suffix == ".npz" else path.name
    results, maps = joint(image, text)
    if labels is not None:
        results["images_alone"] = classes(image, labels)
    folder = study / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", **maps)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(json.dumps(results, indent=1))
