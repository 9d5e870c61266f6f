"""Effects of images as candidates: those of deleting each and adding up anew, and what chance alone gives is none."""

from __future__ import annotations

import pytest
import torch
from helpers import random_rows
from torch import Tensor

from geomclip.metrics import contributions as parts
from geomclip.metrics import gallery
from geomclip.metrics.alignment import Hardest
from geomclip.metrics.bins import BINS
from geomclip.metrics.calibration import Masses
from geomclip.metrics.calibration_scores import brier_of
from geomclip.metrics.effects import Effect, Effects
from geomclip.metrics.gallery import DIRECTIONS, HITS, Answers, gallery_effects
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import Ranks
from geomclip.metrics.sweep import sweep

pytestmark = pytest.mark.numeric

SCALE = 12.0
KINDS = (
    *("image_rank", "text_rank", "relative_text", "relative_image"),
    *(f"{found}_retrieval_{key}" for found in ("image", "text") for key in ("nll", "brier")),
    *(f"{found}_hit@{k}" for found in ("image", "text") for k in (1, 5, 10)),
)
OVER = {way.prefix: [way.over(b) for b in range(BINS)] for way in DIRECTIONS}
COLUMNS = frozenset({*KINDS, *(name for names in OVER.values() for name in names)})


def pairs(n: int, *, seed: int, d: int = 6, without: int = 0, tied: bool = False, each: int | None = None) -> Pairing:
    """n images with 1 to 5 texts, or `each`, the first few with none; the last quarter copies if tied."""
    counts = torch.randint(1, 6, (n,), generator=torch.Generator().manual_seed(seed))
    counts = counts if each is None else torch.full((n,), each)
    counts[:without] = 0
    own = torch.arange(n).repeat_interleave(counts)
    image = random_rows(n, d, seed=seed)
    text = torch.nn.functional.normalize(image[own] + 1.2 * random_rows(len(own), d, seed=seed + 1), dim=1)
    if tied:
        quarter = max(1, n // 4)
        image[-quarter:] = image[-2 * quarter : -quarter]
        text[-len(text) // 4 :] = text[: len(text) - len(text) * 3 // 4]
    return Pairing.of(image, text, own)


def found_of(pairing: Pairing) -> tuple[parts.Columns, dict[str, Answers]]:
    """The columns of a set, and the answers that its effects are made of."""
    hardest, ranks, masses = sweep(pairing, [Hardest(), Ranks(), Masses(SCALE, squares=True)])
    columns = parts.alignment_columns(pairing, hardest) | parts.retrieval_columns(pairing, ranks)
    asking = (pairing.texts_of_image > 0).nonzero()[:, 0]
    for prefix, axis, owner in (("text_retrieval", "image", asking), ("image_retrieval", "text", pairing.own)):
        chosen = asking if axis == "image" else slice(None)
        p = masses[axis]
        brier = brier_of(p.squares, p.own.exp())[chosen]
        each = p.confidence[chosen], p.hit(SCALE)[chosen], -p.own[chosen]
        columns |= parts.calibration_columns(prefix, *each, brier, owner, pairing.n)
    return columns, {axis: Answers(ranks[axis], masses[axis]) for axis in ("text", "image")}


def without_image(pairing: Pairing, image: int) -> Pairing:
    kept = torch.arange(pairing.n) != image
    texts = kept[pairing.own]
    place = kept.long().cumsum(0) - 1
    return Pairing.of(pairing.image[kept], pairing.text[texts], place[pairing.own[texts]])


def by_deletion(pairing: Pairing) -> dict[str, Tensor]:
    """Of each column: its sum, less what the image itself adds to it, less the sum over the set without the image."""
    columns, _ = found_of(pairing)
    lost: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for image in range(pairing.n):
        anew, _ = found_of(without_image(pairing, image))
        for name in COLUMNS:
            lost[name].append(float(columns[name].sum() - columns[name][image] - anew[name].sum()))
    return {name: torch.tensor(each, dtype=torch.float64) for name, each in lost.items()}


def effects_of(pairing: Pairing, *, seed: int = 0) -> dict[str, Tensor]:
    return gallery_effects(pairing, found_of(pairing)[1], SCALE, COLUMNS, seed=seed).all_settled()


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects as they are counted, with the chance of single pairs left in."""
    monkeypatch.setattr(Effect, "settled", lambda self: self.total)


SETS = [(3, 0, False), (4, 1, False), (7, 0, True), (12, 3, False), (25, 0, False), (40, 5, True)]


@pytest.mark.usefixtures("unsettled")
@pytest.mark.parametrize(("n", "without", "tied"), SETS)
@pytest.mark.parametrize("each", [None, 3])
def test_effects_are_those_of_deleting_each_image(n: int, without: int, tied: bool, each: int | None) -> None:
    pairing = pairs(n, seed=n, without=without, tied=tied, each=each)
    effects, expected = effects_of(pairing), by_deletion(pairing)
    for name in KINDS:
        largest = expected[name].abs().max().clamp(min=1)
        assert (effects.get(name, torch.zeros(n)) - expected[name]).abs().max() <= 1e-9 * largest, name
    for prefix, names in OVER.items():  # which bin a query is in may change: hits − confidence as a whole is exact
        found, wanted = (sum(each[name] for name in names if name in each) for each in (effects, expected))
        assert (found - wanted).abs().max() <= 1e-9 * n, prefix


@pytest.mark.usefixtures("unsettled")
def test_queries_of_some_images_stand_for_all_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    pairing = pairs(30, seed=1)
    _, answers = found_of(pairing)
    whole = gallery_effects(pairing, answers, SCALE, COLUMNS, seed=0).all_settled()
    monkeypatch.setattr(gallery, "ASKING", 10)
    drawn = [gallery_effects(pairing, answers, SCALE, COLUMNS, seed=seed).all_settled() for seed in range(300)]
    assert {*KINDS} - {*whole} == {"image_hit@10"}  # no text has its image at place 11
    for name in whole.keys() & {*KINDS}:
        each = torch.stack([some.get(name, torch.zeros(30, dtype=torch.float64)) for some in drawn])
        error = each.std(0) / len(drawn) ** 0.5
        z = (each.mean(0) - whole[name]) / error.clamp(min=1e-12)
        assert each.std(0).max() > 0, name
        # thirty effects, four standard errors: once in 500 a name; the seed is fixed
        assert z.abs().max() < 4.5, name
        assert abs(float(z.mean())) < 0.8, name


def test_columns_that_are_not_wanted_are_left_out_and_effects_sum_to_nothing() -> None:
    pairing = pairs(20, seed=2)
    _, answers = found_of(pairing)
    effects = gallery_effects(pairing, answers, SCALE, frozenset({"image_rank", "matched"}), seed=0).all_settled()
    assert effects.keys() == {"image_rank"}
    for each in effects_of(pairing).values():
        assert abs(float(each.sum())) <= 1e-9 * float(each.abs().sum())


def test_effects_of_chance_alone_are_settled_to_little_and_those_of_a_hub_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    n = 100
    left = []
    for _ in range(200):  # every pair has an effect of its own: there is no image that has more than others
        chance = Effects(n, 1.0)
        chance.add("pairs", torch.randn(n, n, generator=generator, dtype=torch.float64))
        left.append(float(chance.settled("pairs").square().sum() / chance.found["pairs"].total.square().sum()))
    assert sum(left) / len(left) < 0.1
    hub = Effects(n, 1.0)
    of_pairs = torch.randn(n, n, generator=generator, dtype=torch.float64)
    of_pairs[:, 7] += 3
    hub.add("pairs", of_pairs)
    assert hub.settled("pairs")[7] == pytest.approx(3 * n, rel=0.15)


@pytest.mark.parametrize(("tied", "asking"), [(False, 40), (True, 40), (False, 15)])
def test_effects_on_hits_are_kept_pair_by_pair(tied: bool, asking: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "ASKING", asking)
    pairing = pairs(40, seed=3, without=2, tied=tied)
    effects = gallery_effects(pairing, found_of(pairing)[1], SCALE, COLUMNS, seed=0)
    single = effects.pairs(HITS)
    assert len(torch.stack([single.asking, single.candidate], 1).unique(dim=0)) == len(single.asking) > 0
    assert (single.asking != single.candidate).all()
    for name in HITS & effects.found.keys():
        each, whole = single.effects[name], effects.found[name]
        total = torch.zeros(40, dtype=torch.float64).index_add_(0, single.candidate, each)
        assert torch.allclose(total, whole.total, rtol=1e-12), name
        assert float(each.square().sum()) == pytest.approx(whole.chance), name
    assert Effects(3).pairs(["none"]).effects["none"].tolist() == []


def test_pairs_of_one_asking_image_count_together() -> None:
    one, other = Effects(3, 2.0), Effects(3, 2.0)
    one.add_pairs("e", torch.tensor([0, 0, 1]), torch.tensor([1, 1, 2]), torch.tensor([1.0, 2.0, 5.0]))
    other.add("e", torch.tensor([[0.0, 3, 0], [0, 0, 5], [0, 0, 0]]))
    assert torch.equal(one.found["e"].total, other.found["e"].total)
    assert one.found["e"].chance == other.found["e"].chance == 4 * 34
    assert Effects(3, 1.0).settled("none").tolist() == [0, 0, 0]
