"""Single pairs: the variance of a difference of recalls is that of taking out each image and each pair by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers import small_set
from numpy.typing import NDArray

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.metrics import gallery
from geomclip.metrics.sweep import TIE
from geomclip.panels.comparison import compare, influences, single_pairs
from geomclip.panels.comparison.matching import matched_images
from geomclip.panels.comparison.single_pairs import LEAST_PART
from geomclip.panels.files import items_path
from geomclip.panels.loading import load
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

pytestmark = pytest.mark.numeric

Array = NDArray[np.float64]
KEYS = [f"{found}_retrieval_recall@{k}" for found in ("text", "image") for k in (1, 5, 10)]
NOBODY = -1


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def two_encoders(
    n: int, rng: np.random.Generator, *, noise: float = 1.0, copies: int = 0, without: int = 0
) -> list[EmbeddingSet]:
    """The same images with 1 to 3 texts each under two encoders; the last few images are copies of the first ones."""
    latent = rng.normal(size=(n, 8))
    latent[n - copies :] = latent[:copies]
    counts = rng.integers(1, 4, n)
    counts[copies : copies + without] = 0
    own = np.repeat(np.arange(n), counts)
    text = latent[own] + 0.7 * rng.normal(size=(len(own), 8))
    sides = []
    for _ in range(2):
        moved = noise * rng.normal(size=latent.shape)
        moved[n - copies :] = moved[:copies]
        own_noise = noise * rng.normal(size=text.shape)
        rows = (torch.from_numpy(unit(each)) for each in (latent + moved, text + own_noise))
        sides.append(EmbeddingSet(*rows, torch.from_numpy(own), logit_scale=20.0))
    return sides


def on_a_lattice(n: int, rng: np.random.Generator) -> list[EmbeddingSet]:
    """Rows with four entries of ± 1/2, so that cosines are multiples of 1/4 without rounding: most ranks have ties."""
    own = np.repeat(np.arange(n), rng.integers(1, 4, n))
    places = np.stack([rng.permutation(7)[:4] for _ in range(n)])
    sides = []
    for _ in range(2):
        image, text = np.zeros((n, 7)), np.zeros((len(own), 7))
        np.put_along_axis(image, places, rng.choice([0.5, 0.5, -0.5], (n, 4)), 1)
        np.put_along_axis(text, places[own], rng.choice([0.5, 0.5, -0.5], (len(own), 4)), 1)
        rows = (torch.from_numpy(each).float() for each in (image, text))
        sides.append(EmbeddingSet(*rows, torch.from_numpy(own), logit_scale=20.0))
    return sides


def hubs(n: int, rng: np.random.Generator) -> list[EmbeddingSet]:
    """Two texts an image, some of them hubs: near to the images of others on both sides."""
    own = np.repeat(np.arange(n), 2)
    latent = rng.normal(size=(n, 16))
    towards = np.exp(0.5 * rng.normal(size=(2 * n, 1)))
    text = latent[own] + rng.normal(size=(2 * n, 16)) + towards
    image = latent + 1.0
    sides = []
    for _ in range(2):
        rows = (torch.from_numpy(unit(each + 0.4 * rng.normal(size=each.shape))).float() for each in (image, text))
        sides.append(EmbeddingSet(*rows, torch.from_numpy(own), logit_scale=20.0))
    return sides


def measured(sides: list[EmbeddingSet], seed: int = 0) -> list[Panel]:
    return [measure(side, metrics=KEYS, bootstrap=20, seed=seed) for side in sides]


def units_of(before: Panel, after: Panel) -> NDArray[np.int64]:
    return influences.joint_units(before, after, matched_images(before, after, intersect=False))


def variances_of(before: Panel, after: Panel) -> dict[str, float]:
    images = matched_images(before, after, intersect=False)
    return single_pairs.variances(before, after, images, units_of(before, after))


# --- by hand


def hits(side: EmbeddingSet, gone: int, key: str) -> Array:
    """Of each image: how many of its queries are hits without one image as a candidate (`NOBODY` for all)."""
    assert side.text is not None
    assert side.image_of_text is not None
    found, k = key.split("_")[0], int(key.split("@")[1])
    own = side.image_of_text.numpy()
    scores = side.image.double().numpy() @ side.text.double().numpy().T
    total = np.zeros(len(scores))
    if found == "image":
        for text, image in enumerate(own):
            reaches = scores[:, text] >= scores[image, text] - TIE
            reaches[[image, gone] if gone != NOBODY else image] = False
            total[image] += reaches.sum() < k
        return total
    for image in set(own.tolist()):
        reaches = scores[image] >= scores[image, own == image].max() - TIE
        total[image] += (reaches & (own != image) & (own != gone)).sum() < k
    return total


def by_hand(side: EmbeddingSet, key: str, units: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """What each image moves the recall by (n,), as a query alone (n,), and each pair of unlike images (n, n)."""
    assert side.image_of_text is not None
    n = len(side.image)
    texts = np.bincount(side.image_of_text.numpy(), minlength=n)
    asks = (texts > 0).astype(float) if key.startswith("text") else texts.astype(float)
    whole = hits(side, NOBODY, key)
    scale = np.sqrt((n - 1) / n)
    lost, without, alone = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    for candidate in range(n):
        left = asks.sum() - asks[candidate]
        change = whole - hits(side, candidate, key)
        change[units == units[candidate]] = 0
        lost[:, candidate] = scale * change / left
        without[candidate] = (whole.sum() - whole[candidate] - change.sum()) / left
        alone[candidate] = (whole.sum() - whole[candidate]) / left
    return scale * (without.mean() - without), scale * (alone.mean() - alone), lost


def summed(each: Array, units: NDArray[np.int64]) -> Array:
    """Over the images of each unit, along all axes."""
    of_unit = np.eye(units.max() + 1)[units]  # (n, units)
    return of_unit.T @ each if each.ndim == 1 else of_unit.T @ each @ of_unit


SETS = [(20, 0, 0, 0.3), (22, 2, 1, 1.0), (24, 0, 0, 1.2), (25, 4, 2, 1.2), (30, 3, 0, 2.0), (40, 0, 5, 0.6)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "copies", "without", "noise"), SETS)
def test_the_variance_is_that_of_taking_out_each_image_and_each_pair(
    n: int, copies: int, without: int, noise: float, seed: int
) -> None:
    sides = two_encoders(n, np.random.default_rng([seed, n]), noise=noise, copies=copies, without=without)
    assert units_of(*measured(sides)).max() + 1 == n - copies
    assert_as_by_hand(sides)


@pytest.mark.parametrize("seed", range(4))
def test_so_it_is_where_most_ranks_are_tied(seed: int) -> None:
    sides = on_a_lattice(60, np.random.default_rng(seed))
    assert 20 <= units_of(*measured(sides)).max() + 1 < 60
    assert_as_by_hand(sides)


def assert_as_by_hand(sides: list[EmbeddingSet]) -> None:
    panels = measured(sides)
    units = units_of(*panels)
    found = variances_of(*panels)
    assert found.keys() == set(KEYS)
    for key in KEYS:
        (one, one_asks, one_pairs), (other, other_asks, other_pairs) = (by_hand(side, key, units) for side in sides)
        moved = summed(other - one, units)
        chance = summed(other_pairs - one_pairs, units)
        asking = summed(other_asks - one_asks, units)
        expected = np.square(moved).sum() - np.square(chance).sum()
        least_of_all = LEAST_PART * np.square(asking).sum()
        assert found[key] == pytest.approx(max(expected, least_of_all), rel=1e-9, abs=1e-15), key


def test_the_variance_is_the_spread_of_the_difference_between_samples() -> None:
    """Of 400 samples the variance is known to ± 7 %; with single pairs counted twice it is nearly twice as large."""
    rng = np.random.default_rng(4)
    keys = [KEYS[0], KEYS[3]]
    said, differences = np.zeros(2), []
    for _ in range(400):
        panels = measured(hubs(60, rng))
        found = variances_of(*panels)
        said += [found[key] for key in keys]
        differences.append([panels[1].values[key] - panels[0].values[key] for key in keys])
    spread = 400 * np.var(differences, axis=0, ddof=1)
    assert (np.abs(said / spread - 1) < 0.2).all(), said / spread


# --- what changes nothing


def test_two_equal_panels_have_no_variance() -> None:
    side = two_encoders(30, np.random.default_rng(0))[0]
    panels = measured([side, side])
    assert set(variances_of(*panels).values()) == {0.0}
    assert {compare(*panels)[key].verdict for key in KEYS} == {"same"}


def test_the_order_of_the_images_changes_nothing() -> None:
    sides = two_encoders(30, np.random.default_rng(1), copies=3)
    ids = tuple(f"i{i}" for i in range(30))
    sides = [side.replace(image_id=ids) for side in sides]
    turned = sides[1].select_images(torch.randperm(30, generator=torch.Generator().manual_seed(0)))
    there, back = (variances_of(*measured(pair)) for pair in (sides, [sides[0], turned]))
    assert there == pytest.approx(back)
    assert min(there.values()) > 0


def test_swapping_the_sides_changes_nothing() -> None:
    panels = measured(two_encoders(30, np.random.default_rng(2)))
    assert variances_of(*panels) == pytest.approx(variances_of(*reversed(panels)))


def test_queries_of_some_images_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = two_encoders(60, np.random.default_rng(3), noise=0.8)
    whole = variances_of(*measured(sides))
    monkeypatch.setattr(gallery, "ASKING", 30)
    drawn = [variances_of(*measured(sides, seed)) for seed in range(60)]
    for key in (KEYS[0], KEYS[3]):
        each = np.array([one[key] for one in drawn])
        assert each.std() > 0
        assert each.mean() == pytest.approx(whole[key], rel=0.15), key


# --- what is kept


def test_results_without_pairs_are_compared_with_the_wider_error() -> None:
    panels = measured(two_encoders(60, np.random.default_rng(5), noise=0.4))
    older = panels[0].replace(items={kind: each for kind, each in panels[0].items.items() if kind != "pair"})
    assert variances_of(older, panels[1]) == {}
    for key in (KEYS[0], KEYS[3]):
        now, then = compare(*panels)[key], compare(older, panels[1])[key]
        one, other = (np.array(panel.items["image"][f"influence.{key}"]) for panel in panels)
        assert now.ci is not None
        assert then.ci is not None
        assert then.p is not None
        assert then.paired
        width = now.ci[1] - now.ci[0]
        assert then.ci[1] - then.ci[0] > width
        ratio = np.sqrt(variances_of(*panels)[key]) / np.linalg.norm(other - one)
        assert width == pytest.approx(ratio * (then.ci[1] - then.ci[0]))


def test_pairs_come_back_from_a_file_even_where_there_are_none(tmp_path: Path) -> None:
    panel = measured(two_encoders(30, np.random.default_rng(6)))[0]
    back = load(panel.save(tmp_path / "r.json"))
    assert panel.items["pair"]["asking"]
    assert back.items["pair"] == panel.items["pair"]
    rows = torch.eye(24)
    perfect = measure(EmbeddingSet(rows, rows, torch.arange(24)), metrics=KEYS, bootstrap=20)
    assert perfect.items["pair"]["asking"] == []
    again = load(perfect.save(tmp_path / "p.json"))
    assert again.items["pair"] == perfect.items["pair"]
    assert variances_of(again, perfect).keys() == set(KEYS)


@pytest.mark.parametrize("wanted", [["alignment"], KEYS])
def test_there_are_no_pairs_without_intervals_or_recalls(wanted: list[str]) -> None:
    bootstrap = 20 if wanted == ["alignment"] else 0
    assert "pair" not in measure(small_set(24, 2), metrics=wanted, bootstrap=bootstrap).items


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("asking", 30, "pair: asking holds what is no row of its 30 images"),
        ("candidate", -1, "pair: candidate holds what is no row of its 30 images"),
        ("effect.text_hit@1", float("inf"), "pair: effect.text_hit@1 holds what is no finite number"),
    ],
)
def test_pairs_that_are_none_are_refused(tmp_path: Path, column: str, value: float, reason: str) -> None:
    panel = measured(two_encoders(30, np.random.default_rng(7)))[0]
    pair = {name: list(each) for name, each in panel.items["pair"].items()}
    pair[column][0] = value
    file = panel.replace(items={**panel.items, "pair": pair}).save(tmp_path / "r.json")
    assert "pair" in pq.read_table(items_path(file))["kind"].to_pylist()
    with pytest.raises(InputError, match="does not belong to its result: " + reason):
        load(file)
