"""The benchmark: what the composer promises, intervals over seeds and videos, the oracle, and a run from end to end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import flipped
from recorder import Recorder

from geomclip.cli.ground import ground
from geomclip.embeddings.record import EmbeddingSet
from geomclip.embeddings.store import save
from geomclip.grounding.bench import run as running
from geomclip.grounding.bench import sources, space
from geomclip.grounding.bench.bank import DRIFTS, KIN, STOPS, Bank, nearest_others
from geomclip.grounding.bench.composer import FRAMES, Videos, compose
from geomclip.grounding.bench.estimates import two_way
from geomclip.grounding.bench.rows import COMPARED, FREE, ROWS, Batches, Row, Setting, Sizes, repeats_of, trained
from geomclip.grounding.bench.run import Plan, bench
from geomclip.grounding.bench.table import CSV_FILE, MARKDOWN_FILE
from geomclip.grounding.model import Rows
from geomclip.grounding.moments import overlap, proposals
from geomclip.grounding.objective import Objective, method_named
from geomclip.machine.errors import InputError
from geomclip.pairs import Pair

TINY = Sizes(train=24, val=8, test=20, steps=3, batch_size=8, width=8)
TRAINED = ("base", "oracle")


def paired(pictures: int = 48, each: int = 2, d: int = 16) -> EmbeddingSet:
    """Pictures with texts near them."""
    draws = torch.Generator().manual_seed(5)
    image = torch.nn.functional.normalize(torch.randn(pictures, d, generator=draws), dim=1)
    text = image.repeat_interleave(each, 0) + 0.1 * torch.randn(pictures * each, d, generator=draws)
    return EmbeddingSet(image, text, image_of_text=torch.arange(pictures).repeat_interleave(each))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(paired(), tmp_path_factory.mktemp("bench") / "vectors.npz")


@pytest.fixture(scope="module")
def bank(file: Path) -> Bank:
    return sources.vectors(file)


def with_variants(bank: Bank) -> Bank:
    """The same pictures, every two of them of one concept."""
    concept = torch.arange(len(bank.concept)) // 2
    own = concept[bank.members["train"]]
    # train and test must not share a concept: pictures of a split are numbered among themselves
    concept = concept.clone()
    concept[bank.members["train"]] = torch.arange(len(own)) // 2
    concept[bank.members["test"]] = 100 + torch.arange(len(bank.members["test"]))
    return replace(bank, concept=concept)


DOSES = (0.0, 0.6, 1.0)


@pytest.fixture(scope="module")
def doses(bank: Bank) -> dict[float, Videos]:
    return {dose: compose(bank, "train", 60, seed=3, dose=dose, repeated=1.0) for dose in DOSES}


def test_the_same_seed_composes_the_same_videos(bank: Bank) -> None:
    one, again, other = (compose(bank, "train", 60, seed=seed, dose=0.6, repeated=0.6) for seed in (1, 1, 2))
    assert torch.equal(one.clips, again.clips)
    assert one.segments == again.segments
    assert torch.equal(one.text, again.text)
    assert one.segments != other.segments


def test_segments_cover_a_video_and_none_is_shorter_than_two_clips(doses: dict[float, Videos]) -> None:
    for own in doses[0.6].segments:
        assert own[0].start == 0
        assert own[-1].stop == 16 * FRAMES
        assert all(one.stop == other.start for one, other in itertools.pairwise(own))
        assert all(segment.stop - segment.start >= 2 * FRAMES for segment in own)
        assert 4 <= len(own) <= 6
        assert sum(segment.role == "annotated" for segment in own) == 2


def test_cuts_lie_on_the_grid_and_off_it_so_that_overlaps_are_exactly_a_half(doses: dict[float, Videos]) -> None:
    cuts = [segment.start for own in doses[0.6].segments for segment in own[1:]]
    assert {cut % FRAMES for cut in cuts} == {0, 1}
    found = overlap(doses[0.6].spans, proposals(16).spans)
    assert ((found - 0.5).abs() < 1e-12).any(1).double().mean() > 0.9
    assert (found.amax(1) < 1).any()  # a window that no proposal is


def test_a_query_names_the_window_in_which_its_picture_is_shown(bank: Bank, doses: dict[float, Videos]) -> None:
    videos = doses[0.6]
    assert len(videos.text) == 2 * len(videos)
    for query, text in enumerate(videos.text.tolist()):
        picture = int(bank.picture_of_text[text])
        assert picture == videos.picture[query]
        shown = [
            segment
            for segment in videos.segments[int(videos.owner[query])]
            if segment.role == "annotated" and segment.picture == picture
        ]
        assert [(shown[0].start, shown[0].stop)] == [tuple((videos.spans[query] * 16 * FRAMES).long().tolist())]
    record = videos.queries(bank, seconds=2.0)[0]
    assert record.duration == 32.0
    assert record.windows[0] == pytest.approx((videos.spans[0] * 32.0).tolist())


def test_a_clip_inside_a_segment_is_of_its_picture_alone(bank: Bank, doses: dict[float, Videos]) -> None:
    videos = doses[0.6]
    for video, own in enumerate(videos.segments[:20]):
        for segment in own:
            # the frame at a cut is half of the segment before
            first, last = -(-(segment.start + 1) // FRAMES), segment.stop // FRAMES
            inside = videos.clips[video, first:last]
            span = bank.views[segment.picture].flatten(0, 1)
            fitted = torch.linalg.lstsq(span.T, inside.T).solution
            assert (span.T @ fitted - inside.T).abs().max() < 1e-5
    assert torch.allclose(videos.clips.norm(dim=-1), torch.ones(60, 16), atol=1e-5)


def test_a_cut_has_one_frame_of_both_sides(bank: Bank, doses: dict[float, Videos]) -> None:
    from geomclip.grounding.bench.composer import _shown

    videos = doses[0.6]
    before, after = videos.segments[0][:2]
    at = after.start
    left, right = _shown(bank, before), _shown(bank, after)
    unit = torch.nn.functional.normalize
    mixed = unit(left[-1] + right[0], dim=0)
    pair = (left[-1], mixed) if at % FRAMES else (mixed, right[1])
    assert torch.allclose(videos.clips[0, at // FRAMES], unit(pair[0] + pair[1], dim=0), atol=1e-6)


def test_doses_differ_in_nothing_but_what_is_shown_again(doses: dict[float, Videos], bank: Bank) -> None:
    none, some, full = (doses[dose] for dose in DOSES)
    assert torch.equal(none.text, some.text)
    assert torch.equal(none.spans, full.spans)
    for at_none, at_full in zip(none.segments, full.segments, strict=True):
        assert [(each.start, each.stop) for each in at_none] == [(each.start, each.stop) for each in at_full]
        distinct = [len({segment.picture for segment in own}) for own in (at_none, at_full)]
        assert distinct[0] == distinct[1]
        assert sum(segment.of >= 0 for segment in at_none) == sum(segment.of >= 0 for segment in at_full)
    counts = [sum(map(len, videos.repeats)) for videos in (none, some, full)]
    assert counts[0] == 0
    assert 0 < counts[1] < counts[2]


def test_the_share_of_repeats_is_the_dose(bank: Bank) -> None:
    videos = compose(bank, "train", 600, seed=0, dose=0.6, repeated=0.6)
    roles = [segment.role for own in videos.segments for segment in own]
    free = roles.count("spare") + roles.count("repeat") - len(videos)  # the first spare of each never repeats
    assert roles.count("repeat") / free == pytest.approx(0.6, abs=0.05)


def test_a_repeat_is_the_same_picture_under_another_drift_apart_from_it(doses: dict[float, Videos]) -> None:
    for own in doses[1.0].segments:
        for at, segment in enumerate(own):
            if segment.of >= 0:
                assert abs(at - segment.of) > 1
                assert segment.picture == own[segment.of].picture
                assert segment.drift != own[segment.of].drift
                assert (segment.role == "repeat") == (own[segment.of].role == "annotated")


def test_a_repeat_is_another_variant_where_there_is_one(bank: Bank) -> None:
    bank = with_variants(bank)
    videos = compose(bank, "train", 60, seed=0, dose=1.0, repeated=1.0)
    again = [(own[segment.of], segment) for own in videos.segments for segment in own if segment.of >= 0]
    assert again
    lone = {picture for picture in bank.members["train"].tolist() if len(bank.variants(picture)) == 1}
    for first, segment in again:
        assert bank.concept[first.picture] == bank.concept[segment.picture]
        assert (first.picture != segment.picture) or first.picture in lone
    told = sum(map(len, videos.repeats))
    assert told == sum(segment.role == "repeat" for _, segment in again)


def similar_pictures(bank: Bank, videos: Videos) -> float:
    """The share of spare segments that show what is most like an annotated picture of theirs."""
    found = []
    for own in videos.segments:
        named = [segment.picture for segment in own if segment.role == "annotated"]
        near = set(bank.kin[named].flatten().tolist())
        found += [segment.picture in near for segment in own if segment.role == "spare"]
    return sum(found) / len(found)


def test_test_videos_hold_no_repeat_but_similar_pictures(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = compose(bank, "test", 200, seed=0)
    for own in videos.segments:
        pictures = [segment.picture for segment in own]
        assert len({int(bank.concept[picture]) for picture in pictures}) == len(pictures)
        assert set(pictures) <= set(bank.members["test"].tolist())
    assert sum(map(len, videos.repeats)) == 0
    assert not set(bank.members["train"].tolist()) & set(bank.members["test"].tolist())
    monkeypatch.setattr("geomclip.grounding.bench.composer.SIMILAR", 0.0)
    assert similar_pictures(bank, videos) > similar_pictures(bank, compose(bank, "test", 200, seed=0)) + 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dose": 0.7, "repeated": 0.6}, "dose must be between 0 and repeated = 0.6, got 0.7"),
        ({"clips": 8}, "6 segments need 12 clips, got 8"),
    ],
)
def test_what_cannot_be_composed_is_refused(bank: Bank, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compose(bank, "train", 2, seed=0, **options)  # type: ignore[arg-type]


def test_the_nearest_are_of_the_group_first_and_of_another_concept() -> None:
    angle = torch.deg2rad(torch.tensor([0.0, 1, 2, 3, 90, 95, 180, 40]))
    rows = torch.stack([angle.cos(), angle.sin()], dim=1)
    concept = torch.tensor([0, 0, 2, 3, 4, 5, 6, 7])
    group = ["a", "a", "", "", "a", "a", "a", "b"]
    found = nearest_others(rows, concept, {"train": torch.arange(8)}, group)
    assert found[0].tolist() == [4, 5, 6]  # its group, though 2 and 3 are nearer; not 1, its own concept
    assert set(found[2].tolist()) == {0, 1, 3}  # of no group: the nearest
    assert found.shape == (8, KIN)


# ------------------------------------------------------------------------------------------------ sources


def test_vectors_are_cut_by_picture_and_drift_stays_near(file: Path, bank: Bank) -> None:
    assert [len(bank.members[split]) for split in ("train", "val", "test")] == [31, 31, 17]
    assert bank.unit == "picture"
    near = torch.einsum("pvsd,pd->pvs", bank.views, paired().image)
    expected = 1 / (1 + sources.NOISE**2) ** 0.5  # where what is added is at a right angle to the row
    assert bank.views.shape == (48, DRIFTS, STOPS, 16)
    assert near.mean().item() == pytest.approx(expected, abs=0.03)
    assert torch.equal(sources.vectors(file).views, bank.views)
    assert not torch.equal(sources.vectors(file, seed=1).views, bank.views)


def test_emoji_of_train_and_test_share_no_concept_and_variants_come_first(tmp_path: Path) -> None:
    sizes = sources.Sizes(train=8, val=7, test=8)
    bank = sources.emoji(sizes=sizes, cache_dir=tmp_path, workers=0)
    assert [len(bank.members[split]) for split in ("train", "val", "test")] == [16, 7, 8]
    assert all(len(bank.variants(picture)) == 2 for picture in bank.members["train"].tolist())
    concepts = [set(bank.concept[bank.members[split]].tolist()) for split in ("train", "val", "test")]
    assert len(set().union(*concepts)) == sum(map(len, concepts)) == 23
    picture = int(bank.members["test"][0])
    near = bank.views[picture].flatten(0, 1) @ bank.views[picture, 0, 0]
    assert (near > 0.5).all()  # crops of one picture
    assert not torch.equal(bank.views[picture, 0], bank.views[picture, 1])
    text = bank.picture_of_text.tolist().index(picture)
    assert bank.sentences[text] in {caption for pair in sources.emoji_pairs("test").pairs for caption in pair.captions}


def test_a_crop_is_the_square_that_it_says() -> None:
    import io

    from PIL import Image

    class Halves:
        path = "halves.png"

        def read(self) -> bytes:
            picture = Image.new("RGB", (300, 100), "white")
            picture.paste((255, 0, 0), (150, 0, 300, 100))
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            return buffer.getvalue()

        def identity(self) -> str:
            return "1"

    crop = sources.Crop(Halves(), 0.75, 0.5, 0.5)  # the right half of the square in the middle: from 150 to 200
    found = np.asarray(Image.open(io.BytesIO(crop.read())))
    assert found.shape == (50, 50, 3)
    assert (found == [255, 0, 0]).all()
    assert crop.path == "halves.png@0.75,0.5,0.5"


def test_a_set_without_splits_is_cut_by_the_hash_of_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    def some(source: sources.Source, **_: object) -> sources.Pairs:
        if source.split is not None:
            raise InputError(f"csv:x has no split {source.split!r}")
        image = sources.EmojiImage("2B50")
        return sources.Pairs("csv", "", [Pair(f"i{place}", image, ("a star",)) for place in range(40)])

    monkeypatch.setattr(sources, "load_pairs", some)
    parts, _ = sources._splits("csv:x", None, None)
    assert [len(own) for own in parts.values()] == [24, 4, 12]
    assert len({pair.image_id for own in parts.values() for pair in own}) == 40
    with pytest.raises(InputError, match="csv:x: 4 images with captions in its part val are too few"):
        sources.photos("csv:x")


def test_vectors_go_with_a_file_and_a_file_with_vectors(file: Path, tmp_path: Path) -> None:
    for wrong in ({"source": "vectors"}, {"source": "emoji", "vectors_file": file}):
        with pytest.raises(InputError, match="source='vectors' and vectors FILE go together"):
            sources.bank_of(**wrong)  # type: ignore[arg-type]
    few = save(paired(pictures=12), tmp_path / "few.npz")
    with pytest.raises(InputError, match="4 pictures for test are too few"):
        sources.bank_of("vectors", vectors_file=few)


# ---------------------------------------------------------------------------------------------- intervals


def test_an_interval_by_hand() -> None:
    # two units of mean 1 and 3, one seed: error sqrt(2 * (1/2)^2 * 2) / ... = 1
    one = two_way(torch.tensor([[1.0, 1.0, 3.0, 3.0]]), torch.tensor([0, 0, 1, 1]))
    assert (one.value, one.error) == (2.0, pytest.approx(1.0))
    assert one.low == pytest.approx(2 - 12.7062, abs=1e-3)  # Student's t with one degree of freedom
    # seeds that differ and videos that do not: the error is that of the seeds
    two = two_way(torch.tensor([[1.0, 1.0], [3.0, 3.0]]), torch.tensor([0, 1]))
    assert two.error == pytest.approx(1.0)
    same = two_way(torch.ones(3, 4), torch.arange(4))
    assert (same.low, same.high) == (1.0, 1.0)
    assert one.detectable == pytest.approx(12.7062 + 0.842, abs=1e-3)
    with pytest.raises(ValueError, match="at least two"):
        two_way(torch.ones(3, 4), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize(("seeds", "videos", "by_seed"), [(5, 60, 0.0), (5, 60, 0.15), (3, 30, 0.3)])
def test_intervals_hold_the_true_mean_as_often_as_they_say(seeds: int, videos: int, by_seed: float) -> None:
    draws = torch.Generator().manual_seed(seeds)
    unit = torch.arange(videos).repeat_interleave(2)
    held = 0
    for _ in range(300):
        values = by_seed * torch.randn(seeds, 1, generator=draws)
        values = values + 0.5 * torch.randn(1, videos, generator=draws).repeat_interleave(2, 1)
        found = two_way(values + torch.randn(seeds, 2 * videos, generator=draws), unit)
        held += found.low <= 0 <= found.high
    assert 0.87 <= held / 300 <= 1.0


# ------------------------------------------------------------------------------------------------- oracle


@pytest.fixture(scope="module")
def setting(bank: Bank) -> Setting:
    return Setting(bank, TINY, 0, 0.6, 0.6, 0)


def test_the_oracle_takes_the_planted_repeats_out_of_the_negatives_and_nothing_else(setting: Setting) -> None:
    base, oracle = (Batches(ROWS[name], setting, "cpu").of(range(8)) for name in ("base", "oracle"))
    assert base.allowed is None
    assert oracle.allowed is not None
    assert torch.equal(base.clips, oracle.clips)
    planted = repeats_of(setting.train, setting.every)
    assert planted.any()
    absent = ~oracle.allowed
    own = absent[torch.arange(len(oracle)), oracle.owner]
    assert torch.equal(own, planted[: len(own)])
    assert absent.sum() == own.sum() > 0  # only in the sentence's own video
    # a planted moment is no positive, and is shown again apart from the window
    assert (oracle.overlaps[own] < 0.5).all()


def test_a_planted_repeat_neither_costs_nor_teaches_under_the_oracle(setting: Setting) -> None:
    batch = Batches(ROWS["oracle"], setting, "cpu").of(range(8))
    draws = torch.Generator().manual_seed(0)
    moments = torch.nn.functional.normalize(torch.randn(8, len(setting.every), 6, generator=draws), dim=-1)
    sentences = torch.nn.functional.normalize(torch.randn(len(batch), 6, generator=draws), dim=-1)
    gates = torch.randn(len(batch), len(setting.every), generator=draws).requires_grad_()
    Objective(method_named("base"))(Rows(moments, sentences, gates, batch.owner), batch).total.backward()
    assert gates.grad is not None
    assert batch.allowed is not None
    absent = ~batch.allowed[torch.arange(len(batch)), batch.owner]
    assert (gates.grad[absent] == 0).all()
    assert (gates.grad[~absent] != 0).all()


def test_a_step_takes_whole_videos_and_an_epoch_takes_each_once(setting: Setting) -> None:
    chosen = list(Batches(ROWS["base"], setting, "cpu").chosen())
    assert [len(videos) for videos in chosen] == [8, 8, 8]
    assert sorted(video for videos in chosen for video in videos) == list(range(24))


def test_an_oracle_without_repeats_is_base(bank: Bank) -> None:
    none = Setting(bank, TINY, 0, 0.0, 0.6, 0)
    some = Setting(bank, TINY, 0, 0.6, 0.6, 0)

    def weights(row: str, setting: Setting) -> torch.Tensor:
        return torch.cat([each.detach().flatten() for each in trained(ROWS[row], setting).parameters()])

    assert torch.equal(weights("base", none), weights("oracle", none))
    assert not torch.equal(weights("base", some), weights("oracle", some))


def test_a_blind_row_always_has_the_same_sentence(setting: Setting) -> None:
    texts = setting.texts(setting.test, ROWS["video"])
    assert (texts == texts[0]).all()
    assert not (setting.texts(setting.test, ROWS["base"]) == texts).all()


# -------------------------------------------------------------------------------------------------- space


def test_a_graph_finds_repeats_that_are_the_same_and_none_that_are_not(bank: Bank) -> None:
    still = replace(bank, views=bank.views[:, :1, :1].expand(-1, DRIFTS, STOPS, -1).contiguous())
    videos = compose(still, "train", 30, seed=0, dose=1.0, repeated=1.0)
    every = proposals(16)
    moments = torch.nn.functional.normalize(every.means(videos.clips), dim=-1)
    found = space.neighbours_of_truth(moments, videos, every)
    assert found["queries"] == sum(len(spans) > 0 for spans in videos.repeats)
    assert found["cosine_precision"] > 0.8 > 0.5 > found["chance"]
    assert found["nearest_own"] + found["nearest_repeat"] + found["nearest_other"] == pytest.approx(1)
    drawn = torch.nn.functional.normalize(
        torch.randn(moments.shape, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    chance = space.neighbours_of_truth(drawn, videos, every)
    assert chance["cosine_precision"] == pytest.approx(chance["chance"], abs=0.1)
    assert space.neighbours_of_truth(moments, compose(still, "test", 3, seed=0), every) == {}


# --------------------------------------------------------------------------------------------- end to end


def test_a_benchmark_runs_from_end_to_end_and_goes_on_where_it_stopped(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(seeds=2, rows=(*FREE, *TRAINED), sizes=TINY)
    table = bench(bank, tmp_path / "one", plan, processes=1)
    best, drawn = (table.find("row", name, "R5@0.5", 0.6) for name in ("map", "random"))
    assert best is not None
    assert drawn is not None
    assert best["value"] > drawn["value"]
    assert best["dose"] == 0.0  # no dose changes it
    assert table.find("interaction", "oracle", "mIoU", 0.6) is not None
    assert table.find("interaction", "oracle", "mIoU", 0.0) is None
    text = (tmp_path / "one" / MARKDOWN_FILE).read_text(encoding="utf-8")
    assert all(ROWS[name].title in text for name in plan.rows)
    lines = (tmp_path / "one" / CSV_FILE).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(table.lines) + 1

    made: list[str] = []
    keep: Callable[..., None] = running._keep
    monkeypatch.setattr(running, "_keep", lambda trial, *rest: (made.append(trial.name), keep(trial, *rest)))
    (tmp_path / "one" / "runs" / "base-dose0.6-seed1.json").unlink()
    again = bench(bank, tmp_path / "one", plan, processes=1)
    assert made == ["base-dose0.6-seed1"]
    assert again.to_dict() == table.to_dict()
    damaged = tmp_path / "one" / "runs" / "base-dose0.6-seed1.json"
    flipped(damaged, damaged.read_bytes().index(b"0.") + 2)
    made.clear()
    notes = Recorder()
    assert bench(bank, tmp_path / "one", plan, processes=1, progress=notes).to_dict() == table.to_dict()
    assert made == ["base-dose0.6-seed1"]
    (line,) = notes.lines
    assert line.endswith("; run again")
    with pytest.raises(InputError, match="holds a benchmark with another sizes"):
        bench(bank, tmp_path / "one", replace(plan, sizes=replace(TINY, steps=4)), processes=1)


def test_two_processes_write_the_bytes_of_one(bank: Bank, tmp_path: Path) -> None:
    plan = Plan(seeds=1, rows=("zero-shot", "base"), sizes=TINY)
    for processes in (1, 2):
        bench(bank, tmp_path / str(processes), plan, processes=processes)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / n / "runs").iterdir()} for n in ("1", "2"))
    assert one == two
    assert len(one) == 4  # zero-shot once, base at two doses, the graph


def test_what_is_compared_with_base_starts_and_steps_as_it_does() -> None:
    assert all(ROWS[name].preset == ROWS["base"].preset for name in COMPARED)
    assert not any(ROWS[name].free or ROWS[name].blind for name in COMPARED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": ("bse",)}, "rows: no row 'bse'; did you mean base"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"doses": (0.0, 1.5)}, "doses must be numbers from 0 to 1, got 0.0, 1.5"),
        ({"doses": (0.6, 0.6)}, "doses has one twice"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan(**options)  # type: ignore[arg-type]


def test_a_folder_of_something_else_is_left_alone(bank: Bank, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds mine.txt and no benchmark"):
        bench(bank, tmp_path, Plan(seeds=1, rows=("zero-shot",), sizes=TINY), processes=1)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_the_command_prints_the_table(file: Path, tmp_path: Path) -> None:
    line = f"bench --source vectors --vectors {file} --rows zero-shot,base --seeds 1 --train 16 --val 4 --test 6"
    line += f" --steps 2 --processes 1 --out {tmp_path / 'out'} --quiet"
    done = CliRunner().invoke(ground, line.split(), catch_exceptions=False)
    assert done.exit_code == 0
    assert "| base: MMN's losses on the encoder's rows |" in done.output
    told = CliRunner().invoke(ground, [*line.split(), "--json"], catch_exceptions=False)
    assert json.loads(told.output)["made_from"]["sizes"]["train"] == 16


def test_a_row_has_a_title_and_a_method_that_there_is() -> None:
    assert all(isinstance(row, Row) and row.title for row in ROWS.values())
    known = [row for row in ROWS.values() if row.method in ("base",)]
    assert len(known) >= 3
