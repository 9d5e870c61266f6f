"""What pictures show beyond the numbers of a panel: distributions, spectra, hubs, best and worst pairs, neighbours.

From one pass over the similarities of images and texts, and one over those within each modality; no n x m array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.progress import SILENT, Progress
from geomclip.metrics.folds import Fold
from geomclip.metrics.nearest import Nearest, k_occurrence_of_candidates
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import Ranks
from geomclip.metrics.spectrum import Spectrum
from geomclip.metrics.sweep import sweep
from geomclip.panels.histograms import CELLS, Histogram, bins_for, joined

WITHIN_ROWS = 10_000
"""Rows of a modality, evenly spread over it, between which its own similarities are counted: 10⁸ of them."""


@dataclass(frozen=True, eq=False)
class MatchedPairs:
    """Some images with one text of each: rows (p,) int64 of both, cosine (p,) float64, rank (p,) int64 from 1.

    The rank is that of the image among all images that its text could mean; of the right class for class data.
    """

    image: NDArray[np.int64]
    text: NDArray[np.int64]
    cosine: NDArray[np.float64]
    rank: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rank)


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """The nearest items of each query, best first: rows (q, k) int64 of the other modality, cosine (q, k) float32."""

    row: NDArray[np.int64]
    cosine: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Details:
    """What pictures show of one set. Mappings have the keys "image" and "text"; rows are those of the set.

    Parameters
    ----------
    edges : array of shape (b + 1,), float64
        Of the bins of `similarities`, rising.
    similarities : mapping of name to array of shape (b,), int64
        How many cosines lie in each bin: "matched", "unmatched", "within images", "within texts". The last two
        count every pair of different rows once, of at most `WITHIN_ROWS` rows.
    singular_values : mapping of modality to array
        Of the rows as they are, largest first, summing to 1: the exponential of their entropy is `effective_rank`.
    k : int
        Of `k_occurrence`.
    k_occurrence : mapping of modality to array of shape (n,) or (m,), float64
        How often each image is among the k nearest of a text, each text among those of an image.
    nearest : mapping of modality to Neighborhood
        Of each image the nearest texts, of each text the nearest images.
    best, worst : MatchedPairs, optional
        First and last, by rank and then by cosine; each image at most once.
    notes : mapping of str to str
        What is absent, or counted of a part, and why.

    For class data the texts are the classes; a set of images alone has no pairs.
    """

    edges: NDArray[np.float64]
    similarities: Mapping[str, NDArray[np.int64]]
    singular_values: Mapping[str, NDArray[np.float64]]
    k: int
    k_occurrence: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    nearest: Mapping[str, Neighborhood] = field(default_factory=dict)
    best: MatchedPairs | None = None
    worst: MatchedPairs | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    def hubs(self, modality: str, count: int = 12) -> NDArray[np.int64]:
        """Rows of the items that are neighbours most often, most first; empty where that is not known."""
        found = self.k_occurrence.get(modality)
        return np.zeros(0, np.int64) if found is None else np.argsort(-found, kind="stable")[:count]


def details_of(
    embeddings: EmbeddingSet,
    *,
    k: int = 10,
    neighbors: int = 10,
    bins: int | None = None,
    pairs: int = 24,
    progress: Progress = SILENT,
) -> Details:
    """What pictures show of a set: see `Details`.

    Parameters
    ----------
    embeddings : EmbeddingSet
    k : int
        Neighbours in whose lists an item is counted, as in `k_occurrence` and hubness.
    neighbors : int
        Nearest items to keep of every row; all there are, where there are fewer.
    bins : int, optional
        At most so many bins of similarities, over the range in which there are any. Left out: 20 to 100, as the
        matched pairs, which are fewest, fill them.
    pairs : int
        Best and worst pairs to keep.
    progress : Progress
        Gets the rows that are done of each stage.

    Returns
    -------
    Details

    Raises
    ------
    ValueError
        If a number is below 1.

    Examples
    --------
    >>> details = details_of(EmbeddingSet(np.eye(3), np.eye(3)), k=1)
    >>> int(details.similarities["matched"].sum()), int(details.similarities["unmatched"].sum())
    (3, 6)
    >>> details.k_occurrence["image"].tolist(), details.nearest["text"].row[:, 0].tolist()
    ([1.0, 1.0, 1.0], [0, 1, 2])
    """
    for name, value in (("k", k), ("neighbors", neighbors), ("bins", bins), ("pairs", pairs)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    notes: dict[str, str] = {}
    clouds = {"image": embeddings.image}
    if (texts := _texts(embeddings)) is not None:
        clouds["text"] = texts
    counts, across = {}, {}
    if (pairing := _pairing(embeddings)) is not None:
        across = _across(embeddings, pairing, notes, k=k, neighbors=neighbors, pairs=pairs, progress=progress)
        counts = across.pop("similarities")
    for modality, rows in clouds.items():
        counts[f"within {modality}s"] = _within(rows, modality, notes, progress)
    fewest = min(int(each.sum()) for each in counts.values())
    edges, similarities = joined(counts, bins_for(fewest) if bins is None else bins)
    spectra = {modality: Spectrum.of(rows).singular_values for modality, rows in clouds.items()}
    shares = {modality: (values / values.sum()).numpy() for modality, values in spectra.items()}
    return Details(edges, similarities, shares, k, notes=notes, **across)


def _texts(embeddings: EmbeddingSet) -> Tensor | None:
    return embeddings.text if embeddings.text is not None else embeddings.class_text


def _pairing(embeddings: EmbeddingSet) -> Pairing | None:
    """Images with their texts; of class data the classes with their images, which are many to one as texts are."""
    if embeddings.text is not None:
        return Pairing.of(embeddings.image, embeddings.text, embeddings.image_of_text)
    if embeddings.class_text is not None:
        return Pairing.of(embeddings.class_text, embeddings.image, embeddings.labels)
    return None


def _across(
    embeddings: EmbeddingSet,
    pairing: Pairing,
    notes: dict[str, str],
    *,
    k: int,
    neighbors: int,
    pairs: int,
    progress: Progress,
) -> dict[str, Any]:
    """Everything that one pass over images against texts gives: fields of Details, `similarities` in cells."""
    # what the two sides of the pairing are to the set, and the row there of each row here
    as_rows = {"image": torch.arange(pairing.n), "text": pairing.order}
    modality_of = (
        {"image": "image", "text": "text"} if embeddings.text is not None else {"image": "text", "text": "image"}
    )
    folds: list[Fold[Any, Any]] = [Histogram(), Nearest(max(k + 1, neighbors)), Ranks()]
    unmatched, found, ranks = sweep(pairing, folds, stage="images and texts", progress=progress)
    matched = torch.histc(pairing.matched.clamp(-1, 1), CELLS, -1.0, 1.0).long()
    occurrence, nearest = {}, {}
    for query, item in (("text", "image"), ("image", "text")):
        items = len(as_rows[item])
        kept = min(neighbors, items)
        place, score = (pairing.unsorted(each) if query == "text" else each for each in (
            found[f"{query}_index"][:, :kept], found[f"{query}_score"][:, :kept]
        ))  # fmt: skip
        nearest[modality_of[query]] = Neighborhood(as_rows[item][place].numpy(), score.clamp(-1, 1).float().numpy())
        if items <= k:
            notes[f"k_occurrence {modality_of[item]}"] = (
                f"of {items} {modality_of[item]}s all are among the {k} nearest"
            )
            continue
        counts = k_occurrence_of_candidates(pairing, found, query, k=k)
        occurrence[modality_of[item]] = (pairing.unsorted(counts) if item == "text" else counts).numpy()
    order = _in_order(ranks["text"], pairing.matched)
    rows = {modality_of["image"]: pairing.own, modality_of["text"]: pairing.order}
    kept_pairs = {}
    for name, sequence in (("best", order), ("worst", order.flip(0))):
        first = _first_of_each(rows["image"][sequence], pairs)
        chosen = sequence[first]
        kept_pairs[name] = MatchedPairs(
            rows["image"][chosen].numpy(),
            rows["text"][chosen].numpy(),
            pairing.matched[chosen].numpy(),
            ranks["text"][chosen].numpy(),
        )
    return {
        "similarities": {"matched": matched, "unmatched": unmatched},
        "k_occurrence": occurrence,
        "nearest": nearest,
        **kept_pairs,
    }


def _in_order(rank: Tensor, cosine: Tensor) -> Tensor:
    """Places of the pairs, best first: by rank, among equals by cosine, then as they come."""
    by_cosine = torch.argsort(cosine, descending=True, stable=True)
    return by_cosine[torch.argsort(rank[by_cosine], stable=True)]


def _first_of_each(labels: Tensor, count: int) -> Tensor:
    """Places of the first `count` different labels (q,), in order."""
    seen, places = set(), []
    for place, label in enumerate(labels.tolist()):
        if label not in seen:
            seen.add(label)
            places.append(place)
            if len(places) == count:
                break
    return torch.tensor(places, dtype=torch.int64)


def _within(rows: Tensor, modality: str, notes: dict[str, str], progress: Progress) -> Tensor:
    """Cosines between different rows of one modality, in cells, every pair once."""
    n = len(rows)
    if n > WITHIN_ROWS:
        rows = rows[torch.arange(WITHIN_ROWS) * n // WITHIN_ROWS]
        notes[f"within {modality}s"] = f"between {WITHIN_ROWS:,} of {n:,} {modality}s, evenly spread"
    (count,) = sweep(Pairing.within(rows), [Histogram()], stage=f"within {modality}s", progress=progress)
    return count
