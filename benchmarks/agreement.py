"""Do the numbers agree with those of other packages, to the digit? On float64 rows, where float32 blurs nothing.

python benchmarks/agreement.py [--images 500] [--texts-per-image 3] [--dim 64] [--classes 10]

Pairs and class data are drawn; geomclip measures them with --dtype float64, and every number that CLIP_benchmark,
torchmetrics, scikit-learn, scikit-dimension or scipy also have is computed by those. Prints a table in Markdown and
ends with 1 where a number differs by more than its arithmetic can: 1e-9, or 1e-6 where a peer computes in float32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from peers import INSTALL, PACKAGES
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics import k_occurrence, trustworthiness
from geomclip.panels.measurement import measure

DOUBLE, SINGLE = 1e-9, 1e-6
"""What two numbers may differ by: both float64, or one with float32 inside."""

SCALE = 40.0


class Peer(NamedTuple):
    """What a package says of some numbers: key to value."""

    package: str
    function: str
    values: Mapping[str, float]
    allowed: float = DOUBLE


def pairs(images: int, texts: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, their texts, and the image of each text: two cones, unit rows, float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, dim, generator=generator, dtype=torch.float64)
    own = torch.arange(images).repeat_interleave(texts)
    y = 0.45 * x[own] + torch.randn(len(own), dim, generator=generator, dtype=torch.float64)
    cones = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    return *(
        torch.nn.functional.normalize(rows + 0.15 * cone, dim=1) for rows, cone in zip((x, y), cones, strict=True)
    ), own


def classes(images: int, count: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, their labels, and a text a class; classes differ in size."""
    generator = torch.Generator().manual_seed(1)
    labels = (torch.rand(images, generator=generator, dtype=torch.float64) ** 1.5 * count).long()
    text = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    x = 0.25 * text[labels] + torch.randn(images, dim, generator=generator, dtype=torch.float64)
    return *(torch.nn.functional.normalize(rows, dim=1) for rows in (x, text)), labels


def of_pairs(x: Tensor, y: Tensor, own: Tensor) -> Iterator[Peer]:
    """What the peers say of images and their texts."""
    from clip_benchmark.metrics.zeroshot_retrieval import evaluate
    from scipy.spatial import procrustes
    from scipy.stats import skew
    from skdim.id import TwoNN
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.neighbors import NearestNeighbors
    from torchmetrics.functional.classification import multiclass_calibration_error

    class Rows:
        def encode_image(self, rows: Tensor) -> Tensor:
            return rows

        def encode_text(self, rows: Tensor) -> Tensor:
            return y[rows]

    n, first = len(x), torch.arange(0, len(y), len(y) // len(x))
    texts = [(own == i).nonzero()[:, 0].tolist() for i in range(n)]
    found = evaluate(Rows(), [(x, texts)], torch.tensor, "cpu", amp=False, recall_k_list=[1, 5, 10])
    yield Peer("CLIP_benchmark", "zeroshot_retrieval.evaluate", found, SINGLE)

    of_texts = (SCALE * y @ x.T).softmax(1)
    of_images = torch.zeros(n, n, dtype=torch.float64).index_add_(1, own, (SCALE * x @ y.T).softmax(1))
    errors = {
        f"{what}_retrieval_{name}": float(multiclass_calibration_error(p, right, n, n_bins=15, norm=norm))
        for what, p, right in (("image", of_texts, own), ("text", of_images.clamp(max=1), torch.arange(n)))
        for name, norm in (("ece", "l1"), ("mce", "max"))
    }
    yield Peer("torchmetrics", "multiclass_calibration_error", errors, SINGLE)

    likelihoods = {
        "image_retrieval_nll": log_loss(own, of_texts, labels=range(n)),
        "text_retrieval_nll": log_loss(range(n), of_images / of_images.sum(1, keepdim=True), labels=range(n)),
    }
    yield Peer("scikit-learn", "log_loss", likelihoods)
    rows, held = torch.cat([x, y[first]]), np.tile(np.random.default_rng(0).permutation(n) % 5, 2)
    modality = np.repeat([0, 1], n)
    right = [
        LogisticRegression(tol=1e-10, max_iter=10_000)
        .fit(rows[held != fold], modality[held != fold])
        .score(rows[held == fold], modality[held == fold])
        for fold in range(5)
    ]
    yield Peer("scikit-learn", "LogisticRegression", {"linear_separability": float(np.mean(right))})
    nearest = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(y).kneighbors(x, return_distance=False)
    counts = np.bincount(nearest.ravel(), minlength=len(y))
    yield Peer("scikit-learn, scipy", "NearestNeighbors, skew", {"text_hubness": float(skew(counts))})
    assert np.array_equal(counts, k_occurrence(x, y).numpy())
    shapes = {}
    for name, cloud in (("image", x), ("text", y)):
        spread = np.linalg.svd(cloud - cloud.mean(0), compute_uv=False) ** 2
        shapes[f"participation_ratio_centered_{name}"] = float(spread.sum() ** 2 / (spread**2).sum())
    yield Peer("numpy", "linalg.svd", shapes)
    dimensions = {
        f"twonn_{name}": float(TwoNN().fit(cloud.numpy()).dimension_)
        for name, cloud in zip(("image", "text"), (x, y), strict=True)
    }
    yield Peer("scikit-dimension", "TwoNN", dimensions)
    yield Peer("scipy", "procrustes", {"procrustes_distance": float(procrustes(x.numpy(), y[first].numpy())[2])})


def of_classes(x: Tensor, text: Tensor, labels: Tensor) -> Iterator[Peer]:
    """What they say of classes."""
    from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss, top_k_accuracy_score
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, c = SCALE * x @ text.T, len(text)
    p = logits.softmax(1)
    hits = {f"zeroshot_acc{k}": float(top_k_accuracy_score(labels, logits, k=k, labels=range(c))) for k in (1, 5)}
    yield Peer("scikit-learn", "top_k_accuracy_score", hits)
    errors = {
        f"zeroshot_{name}": float(multiclass_calibration_error(p, labels, c, n_bins=15, norm=norm))
        for name, norm in (("ece", "l1"), ("mce", "max"))
    }
    yield Peer("torchmetrics", "multiclass_calibration_error", errors, SINGLE)
    recall = balanced_accuracy_score(labels, logits.argmax(1))
    yield Peer("scikit-learn", "balanced_accuracy_score", {"zeroshot_mean_per_class_recall": float(recall)})
    scores = {
        "zeroshot_nll": log_loss(labels, p, labels=range(c)),
        "zeroshot_brier": brier_score_loss(labels, p, labels=range(c), scale_by_half=False),
    }
    yield Peer("scikit-learn", "log_loss, brier_score_loss", scores)


def of_projections(x: Tensor) -> Iterator[tuple[Peer, dict[str, float]]]:
    """A projection, which no panel has."""
    from sklearn.manifold import trustworthiness as theirs

    flat = x[:, :2]
    peer = Peer("scikit-learn", "manifold.trustworthiness", {"trustworthiness": theirs(x, flat, n_neighbors=5)})
    yield peer, {"trustworthiness": float(trustworthiness(x, flat))}


def main() -> None:
    """Print the table; end with 1 where a number differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--texts-per-image", type=int, default=3)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        print(f"agreement.py needs {', '.join(missing)}, not installed here: {INSTALL}", file=sys.stderr)
        sys.exit(2)
    x, y, own = pairs(options.images, options.texts_per_image, options.dim)
    photos, text, labels = classes(options.images, options.classes, options.dim)
    how: dict[str, Any] = {"metrics": "all", "bootstrap": 0, "dtype": "float64"}
    ours = measure(EmbeddingSet(x, y, own, logit_scale=SCALE), **how).values
    by_class = measure(EmbeddingSet(photos, labels=labels, class_text=text, logit_scale=SCALE), **how).values
    compared = [(peer, ours) for peer in of_pairs(x, y, own)]
    compared += [(peer, by_class) for peer in of_classes(photos, text, labels)]
    compared += list(of_projections(x))

    print("| package | function | numbers | largest difference |\n|---|---|---|---|")
    wrong = []
    for peer, values in compared:
        apart = {key: abs(float(values[key] or 0.0) - float(value)) for key, value in peer.values.items()}
        wrong += [key for key, each in apart.items() if not each <= peer.allowed]
        names = ", ".join(f"`{key}`" for key in apart)
        print(f"| {peer.package} | `{peer.function}` | {names} | {max(apart.values()):.0g} |")
    packages = ("clip-benchmark", "torchmetrics", "scikit-learn", "scikit-dimension", "scipy", "numpy", "torch")
    print("\n" + ", ".join(f"{name} {version(name)}" for name in packages))
    if wrong:
        sys.exit(f"these differ by more than their arithmetic can: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
