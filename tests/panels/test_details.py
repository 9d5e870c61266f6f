"""Details: what the one pass counts is what a double loop over float64 scores counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import class_set, on_circle, random_rows, small_set

from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics.neighborhood import k_occurrence
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.shape import effective_rank
from geomclip.metrics.sweep import sweep
from geomclip.panels import details
from geomclip.panels.details import details_of
from geomclip.panels.histograms import CELLS, Histogram

pytestmark = pytest.mark.numeric


def set_of(n: int, per_image: int, dtype: torch.dtype, *, seed: int = 0) -> EmbeddingSet:
    """Texts in an order of their own, one image without text."""
    made = small_set(n, per_image, 8, seed=seed)
    assert made.text is not None
    assert made.image_of_text is not None
    order = torch.randperm(len(made.text), generator=torch.Generator().manual_seed(seed))
    order = order[made.image_of_text[order] != 2]
    return EmbeddingSet(made.image.to(dtype), made.text[order].to(dtype), made.image_of_text[order])


def brute(embeddings: EmbeddingSet) -> tuple[np.ndarray, np.ndarray]:
    """All scores (m, n) in float64, and which of them are matched."""
    assert embeddings.text is not None
    assert embeddings.image_of_text is not None
    scores = embeddings.text.double() @ embeddings.image.double().T
    matched = embeddings.image_of_text[:, None] == torch.arange(len(embeddings.image))
    return scores.numpy(), matched.numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("blocks", [(1250, 1000), (7, 5)])
def test_the_histograms_are_those_of_all_scores(
    dtype: torch.dtype, blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sweep, "__kwdefaults__", {**sweep.__kwdefaults__, "text_block": blocks[0], "image_block": blocks[1]}
    )
    embeddings = set_of(23, 3, dtype)
    found = details_of(embeddings, bins=40)
    scores, matched = brute(embeddings)
    image, text = embeddings.image.double().numpy(), embeddings.text.double().numpy()  # type: ignore[union-attr]
    once = [np.triu_indices(len(rows), k=1) for rows in (image, text)]
    expected = {
        "matched": scores[matched],
        "unmatched": scores[~matched],
        "within images": (image @ image.T)[once[0]],
        "within texts": (text @ text.T)[once[1]],
    }
    assert found.similarities.keys() == expected.keys()
    assert 20 < len(found.edges) - 1 <= 40
    for name, values in expected.items():
        counted = found.similarities[name]
        assert counted.sum() == len(values)
        assert found.edges[0] <= values.min()
        assert values.max() <= found.edges[-1]
        # float32 may put a score that lies on an edge on its other side
        near = np.abs(values[:, None] - found.edges).min(1) < 1e-6
        assert np.abs(counted - np.histogram(values, found.edges)[0]).sum() <= 2 * near.sum()


def test_few_pairs_get_few_bins() -> None:
    few, many = (details_of(small_set(n, 1, 8)) for n in (10, 600))
    assert 10 <= len(few.edges) - 1 <= 20
    assert 35 <= len(many.edges) - 1 <= 51


def test_scores_that_rounding_puts_beyond_the_ends_are_counted_at_the_ends() -> None:
    image = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]) * (1 + 2**-22)  # not unit: products beyond ±1
    (counted,) = sweep(Pairing.of(image, image.flip(0)), [Histogram(unmatched=False)])
    assert counted[0] == 2
    assert counted[-1] == 2
    assert counted.sum() == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_hubs_and_pairs_are_those_of_all_scores(dtype: torch.dtype) -> None:
    embeddings = set_of(23, 3, dtype, seed=3)
    found = details_of(embeddings, k=4, neighbors=6, pairs=5)
    scores, matched = brute(embeddings)
    for modality, of_queries in (("text", scores), ("image", scores.T)):
        near = found.nearest[modality]
        assert near.row.shape == near.cosine.shape == (len(of_queries), 6)
        assert (near.row == np.argsort(-of_queries, axis=1)[:, :6]).all()
        assert np.abs(near.cosine - np.take_along_axis(of_queries, near.row, 1)).max() < 1e-6
    assert embeddings.text is not None
    for modality, counts in (
        ("image", k_occurrence(embeddings.text, embeddings.image, k=4)),
        ("text", k_occurrence(embeddings.image, embeddings.text, k=4)),
    ):
        assert found.k_occurrence[modality].tolist() == counts.tolist()
        hubs = found.hubs(modality, 3)
        assert counts[hubs].tolist() == sorted(counts.tolist())[:-4:-1]
    own = embeddings.image_of_text.numpy()  # type: ignore[union-attr]
    cosine = scores[matched]
    rank = 1 + ((scores >= cosine[:, None]) & ~matched).sum(1)
    order = np.lexsort((-cosine, rank))
    for pairs, sequence in ((found.best, order), (found.worst, order[::-1])):
        assert pairs is not None
        assert len(pairs) == 5
        seen = [j for place, j in enumerate(sequence) if own[j] not in own[sequence[:place]]][:5]
        assert pairs.text.tolist() == seen
        assert pairs.image.tolist() == own[seen].tolist()
        assert pairs.rank.tolist() == rank[seen].tolist()
        assert np.abs(pairs.cosine - cosine[seen]).max() < 1e-12


def test_the_spectrum_is_what_effective_rank_reads() -> None:
    embeddings = small_set(30, 2, 16)
    values = details_of(embeddings).singular_values
    for rows, modality in ((embeddings.image, "image"), (embeddings.text, "text")):
        shares = values[modality]
        assert shares.sum() == pytest.approx(1)
        entropy = -(shares * np.log(shares)).sum()
        assert np.exp(entropy) == pytest.approx(float(effective_rank(rows)))  # type: ignore[arg-type]


def test_class_data_has_the_classes_as_texts() -> None:
    embeddings = class_set(40, 4)
    found = details_of(embeddings, k=2, neighbors=3, pairs=6)
    assert embeddings.class_text is not None
    assert embeddings.labels is not None
    scores = (embeddings.image @ embeddings.class_text.T).numpy()
    own = scores[np.arange(40), embeddings.labels]
    assert found.nearest["image"].row.tolist() == np.argsort(-scores, axis=1)[:, :3].tolist()
    assert found.nearest["text"].row.tolist() == np.argsort(-scores.T, axis=1)[:, :3].tolist()
    assert found.k_occurrence["image"].shape == (40,)
    assert found.k_occurrence["text"].sum() == 80
    assert found.worst is not None
    rank = (scores >= own[:, None]).sum(1)
    assert len(set(found.worst.image.tolist())) == 6
    assert (found.worst.text == embeddings.labels.numpy()[found.worst.image]).all()
    assert found.worst.rank.tolist() == sorted(rank.tolist())[:-7:-1]
    assert found.similarities["matched"].sum() == 40


def test_images_alone_have_a_spectrum_and_their_own_similarities() -> None:
    found = details_of(EmbeddingSet(random_rows(9, 4, seed=0)))
    assert found.similarities.keys() == {"within images"}
    assert found.singular_values.keys() == {"image"}
    assert (found.best, found.worst, found.nearest, found.k_occurrence) == (None, None, {}, {})
    assert found.hubs("text").tolist() == []


def test_fewer_items_than_k_are_said_to_be_all_neighbours() -> None:
    found = details_of(small_set(4, 1, 8), k=10, neighbors=10)
    assert found.k_occurrence == {}
    assert found.notes["k_occurrence image"] == "of 4 images all are among the 10 nearest"
    assert found.nearest["image"].row.shape == (4, 4)
    assert sorted(found.nearest["image"].row[0].tolist()) == [0, 1, 2, 3]


def test_equal_rows_and_duplicates_are_counted_like_any_others() -> None:
    one = on_circle(10, 10, 10, 10)
    found = details_of(EmbeddingSet(one, one), k=2, pairs=2)
    assert found.similarities["unmatched"].tolist() == [12]
    assert found.k_occurrence["image"].tolist() == [2.0] * 4
    assert found.worst is not None
    assert found.worst.rank.tolist() == [4, 4]


def test_within_a_large_modality_an_even_share_of_rows_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "WITHIN_ROWS", 6)
    embeddings = small_set(20, 1, 8)
    found = details_of(embeddings)
    assert found.similarities["within images"].sum() == 15
    assert found.notes["within images"] == "between 6 of 20 images, evenly spread"
    kept = embeddings.image[[0, 3, 6, 10, 13, 16]]
    expected = torch.histc((kept @ kept.T)[~torch.eye(6, dtype=torch.bool)], CELLS, -1, 1).nonzero()[:, 0]
    bins = found.similarities["within images"].nonzero()[0]
    assert found.edges[bins[0]] <= expected[0].item() / (CELLS / 2) - 1 < found.edges[bins[0] + 1]


@pytest.mark.parametrize("name", ["k", "neighbors", "bins", "pairs"])
def test_a_number_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        details_of(small_set(), **{name: 0})
