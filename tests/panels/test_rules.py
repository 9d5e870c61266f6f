"""The rules of a verdict: each is said where it holds, in these words, and no block is longer than eight lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import random_rows, small_set

from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.comparison import Comparison, Row, compare, tables
from geomclip.panels.comparison.answer import Answer, Finding
from geomclip.panels.comparison.rules import HEADLINE, HEADLINES, RULES, State, answered
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

I2T, T2I = "text_retrieval_recall@1", "image_retrieval_recall@1"
UP = Row(0.104, 0.384, 0.28, (0.2, 0.36), "better", True, 1e-4, 2e-4, True)
DOWN = Row(0.384, 0.104, -0.28, (-0.36, -0.2), "worse", True, 1e-4, 2e-4, True)
LEVEL = Row(0.3, 0.298, -0.002, (-0.0123, 0.0091), "unclear", True, 0.7, 0.9, True)
UNKNOWN = Row(0.3, 0.31, 0.01)
GUESSES = {I2T: 0.01, T2I: 0.01, "zeroshot_acc1": 0.1}


def moved(before: float, after: float, verdict: str = "", *, by: float = 0.01) -> Row:
    """A row whose interval is as wide as twice `by`."""
    change = after - before
    q = 0.001 if verdict in ("better", "worse", "lower") else 0.5 if verdict else None
    return Row(before, after, change, (change - by, change + by), verdict, True, q, q)


def side(**values: float) -> Panel:
    """A panel whose recalls are well above guesses."""
    return Panel(values, null=GUESSES, ci={key: (0.2, 0.5) for key in GUESSES})


def guessing() -> Panel:
    """A panel whose recalls are not told apart from guesses."""
    return Panel({}, null=GUESSES, ci={key: (0.0, 0.05) for key in GUESSES})


def answer(rows: dict[str, Row], *, before: Panel | None = None, after: Panel | None = None, **more: Any) -> Answer:
    return answered(rows, side() if before is None else before, side() if after is None else after, **more)


COSINES = {"mean_cosine_image": moved(0.75, 0.75), "mean_cosine_text": moved(0.85, 0.85)}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            {I2T: UP, T2I: UP},
            "up: recall@1 image → text 10.4 → 38.4 % (+20.0 to +36.0 points); "
            "text → image 10.4 → 38.4 % (+20.0 to +36.0)",
        ),
        (
            {I2T: UP, T2I: LEVEL},
            "up: recall@1 image → text 10.4 → 38.4 % (+20.0 to +36.0 points); text → image within -1.2 to +0.9",
        ),
        (
            {I2T: LEVEL, T2I: LEVEL},
            "level: recall@1 image → text within -1.2 to +0.9 points; text → image within -1.2 to +0.9",
        ),
        ({I2T: DOWN}, "down: recall@1 image → text 38.4 → 10.4 % (-36.0 to -20.0 points)"),
        (
            {I2T: UP, T2I: DOWN},
            "mixed: recall@1 image → text 10.4 → 38.4 % (+20.0 to +36.0 points); "
            "text → image 38.4 → 10.4 % (-36.0 to -20.0)",
        ),
        ({I2T: Row(0.3, 0.3, 0.0, (0.0, 0.0), "same")}, "same: no share of right answers moved"),
        ({I2T: UNKNOWN}, "unclear: recall@1 image → text 30.0 → 31.0 %, and no interval"),
    ],
)
def test_retrieval_is_said_with_both_directions_and_between_what_ends(rows: dict[str, Row], sentence: str) -> None:
    assert answer(rows).lines[0].sentence == sentence


def test_accuracy_stands_in_the_place_of_retrieval() -> None:
    found = answer({"zeroshot_acc1": UP}, before=side().replace(task="classification"))
    assert found.lines[0] == Finding("classes", "up", "up: accuracy 10.4 → 38.4 % (+20.0 to +36.0 points)")
    assert found.sentence == "better: accuracy up"


def test_at_chance_nothing_is_called_better() -> None:
    rows = {I2T: LEVEL, T2I: LEVEL, **COSINES, "image_retrieval_ece": moved(0.2, 0.05, "better"),
            "alignment": moved(1.2, 0.8, "better")}  # fmt: skip
    found = answer(rows, before=guessing(), after=guessing())
    assert str(found).splitlines() == [
        "verdict      at chance: not told apart from guesses on either side",
        "retrieval    at chance: image → text 30.0 → 29.8 %; text → image 30.0 → 29.8 %",
        "             (guesses 1 %)",
        "space        kept: images 41° → 41°, texts 32° → 32° (mean angle of two)",
        "calibration  muted: an error of confidence says nothing of guesses",
        "numbers      muted: a change of guesses is none",
    ]
    assert found.is_muted
    assert "better" not in str(found)


def test_one_recall_above_guesses_on_one_side_is_enough_not_to_be_at_chance() -> None:
    above = guessing().replace(ci={I2T: (0.2, 0.5), T2I: (0.0, 0.05)})
    assert answer({I2T: LEVEL, T2I: LEVEL}, before=guessing(), after=above).headline == "no difference"


def test_four_intervals_are_held_to_chance_together() -> None:
    near = guessing().replace(ci={I2T: (0.012, 0.05), T2I: (0.012, 0.05)})  # above it by its own 95 %, not by 98.75 %
    assert answer({I2T: LEVEL, T2I: LEVEL}, before=near, after=near).headline == "at chance"


def test_a_fall_to_guesses_says_so() -> None:
    found = answer({I2T: DOWN, T2I: DOWN}, after=guessing())
    assert found.lines[0].sentence.startswith("down to chance: recall@1 image → text 38.4 → 10.4 %")
    assert found.sentence == "worse: retrieval down to chance"
    assert found.word("retrieval") == "down"


@pytest.mark.parametrize(
    ("cosines", "sentence"),
    [
        ((0.906, 0.99), "narrowed: images 25° → 8°, texts 32° → 32° (mean angle of two)"),
        ((0.75, 0.81), "kept: images 41° → 36°, texts 32° → 32° (mean angle of two)"),
        ((0.75, 0.65), "widened: images 41° → 49°, texts 32° → 32° (mean angle of two)"),
        ((0.75, 0.9951), "collapsed: images 41° → 6°, texts 32° → 32° (mean angle of two)"),
        ((0.996, 0.9985), "narrowed: images 5° → 3°, texts 32° → 32° (mean angle of two)"),
    ],
)
def test_what_became_of_the_cones_is_told_with_their_angles(cosines: tuple[float, float], sentence: str) -> None:
    rows = {I2T: LEVEL, **COSINES, "mean_cosine_image": moved(*cosines, by=1e-4)}
    assert [line.sentence for line in answer(rows).lines if line.about == "space"] == [sentence]


def test_a_cone_that_narrowed_within_its_interval_is_kept() -> None:
    rows = {I2T: LEVEL, **COSINES, "mean_cosine_image": moved(0.75, 0.9, by=0.2)}
    assert answer(rows).word("space") == "kept"
    rows |= {"mean_cosine_image": Row(0.75, 0.9, 0.15)}
    assert answer(rows).lines[1].sentence == "unclear: images 41° → 26°, texts 32° → 32°, and no interval"


def test_a_cloud_that_collapses_beside_one_that_had_is_told() -> None:
    rows = {I2T: LEVEL, "mean_cosine_image": moved(0.75, 0.999, by=1e-4), "mean_cosine_text": moved(0.996, 0.996)}
    assert answer(rows).word("space") == "collapsed"
    assert answer({**rows, "mean_cosine_image": moved(0.996, 0.9965)}).word("space") == "kept"


def test_a_space_of_one_direction_is_collapsed_whatever_its_angles_are() -> None:
    rows = {I2T: LEVEL, **COSINES, "effective_rank_image": moved(54.21, 1.234), "effective_rank_text": moved(60, 58)}
    assert answer(rows).lines[1].sentence == "collapsed: effective rank images 54.2 → 1.23, texts 60 → 58"


def test_the_gap_is_told_and_not_judged() -> None:
    def gap(before: float, after: float, by: float = 0.01) -> str:
        found = answer(
            {I2T: LEVEL, "modality_gap": moved(before, after), "modality_gap_debiased": moved(before, after, by=by)}
        )
        assert found.headline == "no difference"
        return found.lines[1].sentence

    assert gap(0.987, 0.512) == "closed: 0.987 → 0.512 (in itself neither better nor worse)"
    assert gap(0.512, 0.987) == "widened: 0.512 → 0.987 (in itself neither better nor worse)"
    assert gap(0.987, 0.95, by=0.001) == "kept: 0.987 → 0.950"  # told apart from none, and small
    assert gap(0.987, 0.512, by=0.5) == "kept: 0.987 → 0.512"
    lone = Row(0.987, 0.512, -0.475)
    assert answer({I2T: LEVEL, "modality_gap": lone}).lines[1].sentence == "unclear: 0.987 → 0.512, and no interval"


@pytest.mark.parametrize(
    ("words", "sentence", "headline"),
    [
        (("better", "unclear"), "better: ECE image → text 12.3 → 8.7 %, text → image 12.3 → 8.7 %",
         "better: retrieval level, calibration better"),
        (("worse", "unclear"), "worse: ECE image → text 12.3 → 8.7 %, text → image 12.3 → 8.7 %",
         "worse: retrieval level, calibration worse"),
        (("worse", "better"), "mixed: ECE image → text 12.3 → 8.7 %, text → image 12.3 → 8.7 %",
         "mixed: retrieval level, calibration mixed"),
        (("lower", "unclear"), "not judged, beside what recall did: ECE 12.3 → 8.7 %, 12.3 → 8.7 %",
         "no difference that can be told: retrieval level"),
        (("unclear", "unclear"), "unclear: ECE image → text 12.3 → 8.7 %, text → image 12.3 → 8.7 %",
         "no difference that can be told: retrieval level"),
    ],
)  # fmt: skip
def test_calibration_goes_by_the_ece_of_both_directions(words: tuple[str, str], sentence: str, headline: str) -> None:
    keys = ("text_retrieval_ece", "image_retrieval_ece")
    rows = {I2T: LEVEL} | {key: moved(0.1234, 0.0871, word) for key, word in zip(keys, words, strict=True)}
    found = answer(rows)
    assert found.lines[1].sentence == sentence
    assert found.sentence == headline


def test_a_gain_with_a_narrowed_space_has_both_in_its_headline() -> None:
    rows = {I2T: UP, **COSINES, "mean_cosine_image": moved(0.906, 0.99)}
    assert (answer(rows).headline, answer(rows).sentence) == ("better", "better: retrieval up, space narrowed")
    rows |= {I2T: LEVEL}
    assert (answer(rows).headline, answer(rows).sentence) == ("narrowed", "narrowed: retrieval level, space narrowed")


def test_better_and_worse_are_mixed() -> None:
    rows = {I2T: UP, "text_retrieval_ece": moved(0.05, 0.2, "worse")}
    assert answer(rows).sentence == "mixed: retrieval up, calibration worse"


def test_primary_keys_of_the_caller_have_a_line_and_a_say() -> None:
    named = {I2T: LEVEL, "alignment": moved(1.2, 1.5, "worse")}
    rows = {key: Row(**{**vars(row), "primary": key == "alignment"}) for key, row in named.items()}
    found = answer(rows)
    assert found.lines[1] == Finding("primary", "worse", "worse: alignment 1.200 → 1.500")
    assert found.sentence == "worse: retrieval level, primary worse"


@pytest.mark.parametrize(
    ("rows", "line", "sentence"),
    [
        (
            {"interpolation_w2_over_nearer": Row(0.805, 0.816, 0.011, (-0.03, 0.06), "unclear", primary=True)},
            Finding("interpolation", "level", "level: W2, of the nearer time's within -0.03 to +0.06"),
            "no difference that can be told: interpolation level",
        ),
        (
            {"interpolation_w2_over_nearer": Row(0.805, 0.805, 0.0, (0.0, 0.0), "same", primary=True)},
            Finding("interpolation", "same", "same: W2, of the nearer time's 0.8050 on both sides"),
            "no difference that can be told: interpolation same",
        ),
        (
            {"missing_modality_m2mix_mae": Row(0.776, 0.724, -0.052, (-0.1, -0.01), "better", primary=True)},
            Finding("missing-modality", "better", "better: MAE, GMC + m²-mix 0.776 → 0.724 (-0.10 to -0.01)"),
            "better: missing-modality better",
        ),
        (
            {
                "zeroshot_acc1": Row(0.3, 0.298, -0.002, (-0.0123, 0.0091), "unclear", primary=True),
                "fewshot_probe_acc1@16": Row(0.36, 0.31, -0.05, (-0.08, -0.02), "worse", primary=True),
            },
            Finding("fewshot", "worse", "worse: linear probe, 16 a class 36.0 → 31.0 % (-8.0 to -2.0 points)"),
            "worse: accuracy level, fewshot worse",
        ),
    ],
)
def test_a_task_has_a_line_of_its_name_told_as_accuracy_is(rows: dict[str, Row], line: Finding, sentence: str) -> None:
    found = answer(rows)
    assert line in found.lines
    assert not found.word("primary")
    assert found.sentence == sentence
    texts = [each for each in found.block() if not each.startswith(" ")]
    room = max(13, len(line.about) + 1)
    assert all(each[room - 1] == " " != each[room] for each in texts)  # sentences begin in one column


def test_without_retrieval_all_that_is_judged_decides() -> None:
    assert answer({"alignment": moved(1.2, 1.1, "better")}).sentence == "better: the numbers that are judged better"
    unclear = answer({"alignment": moved(1.2, 1.1, "unclear")})
    assert unclear.sentence == "no difference that can be told: the numbers that are judged level"
    assert answer({"modality_gap": moved(1.2, 1.1)}).headline == "unclear"
    assert answer({"alignment": Row(1.0, None)}).headline == "unclear"


def test_how_many_are_called_changed_and_how_many_would_be_by_chance() -> None:
    rows = {I2T: UP} | {f"metric {i}": moved(1.2, 1.1, "better" if i < 6 else "unclear") for i in range(20)}
    assert answer(rows).lines[-1].sentence == "changed: 7 of 21 judged; about 0.4 of them at most by chance"
    assert answer({I2T: LEVEL}).lines[-1].sentence == "unchanged: none of 1 judged"


# --------------------------------------------------------------------------------------------------------- other data


def other(*rows: Row, verdict: Answer | None = None) -> Comparison:
    return Comparison(dict(zip((I2T, T2I), rows, strict=False)), verdict=verdict or Answer())


def test_what_was_forgotten_elsewhere_is_said_first_and_makes_the_headline_worse() -> None:
    others = {"coco": other(LEVEL, LEVEL), "emoji": other(DOWN, LEVEL)}
    found = answer({I2T: LEVEL, T2I: LEVEL}, others=others)
    assert [line.sentence for line in found.lines if line.about == "other data"] == [
        "forgot: emoji image → text -28.0 points (-36.0 to -20.0)",
        "kept: coco image → text within -1.2 to +0.9 points, text → image within -1.2 to +0.9",
    ]
    assert found.sentence == "worse: retrieval level, other data forgot"


def test_gains_and_guesses_elsewhere() -> None:
    others = {"a": other(UP, LEVEL), "b": other(LEVEL, verdict=Answer("at chance")), "c": other(UP, DOWN)}
    found = answer({I2T: LEVEL}, others=others)
    assert [line.sentence for line in found.lines[1:4]] == [
        "mixed: c image → text +28.0 points (+20.0 to +36.0), text → image -28.0 (-36.0 to -20.0)",
        "at chance: b",
        "gained: a image → text +28.0 points (+20.0 to +36.0)",
    ]
    assert found.sentence == "mixed: retrieval level, other data mixed and gained"


def test_many_other_data_are_corrected_together() -> None:
    near = Row(0.384, 0.33, -0.054, (-0.1, -0.008), "worse", True, 0.02, 0.04, True)
    assert answer({I2T: LEVEL}, others={"a": other(near)}).word("other data") == "forgot"
    others = {"a": other(near), **{f"b{i}": other(LEVEL, LEVEL) for i in range(3)}}
    assert answer({I2T: LEVEL}, others=others).word("other data") == "kept"


# --------------------------------------------------------------------------------------------------------------- shape


def test_every_rule_begins_with_its_word_and_the_last_of_a_subject_always_holds() -> None:
    nothing = State(answer_facts())
    subjects = {about: [rule for rule in RULES if rule.about == about] for about in {rule.about for rule in RULES}}
    for rules in subjects.values():
        assert rules[-1].holds(nothing)
        assert all(rule.sentence.startswith(rule.word) for rule in rules)
    words = ("at chance", "mixed", "worse", "better", "collapsed", "narrowed", "widened", "no difference", "unclear")
    assert words == HEADLINES
    assert {rule.word for rule in HEADLINE} == set(words)


def answer_facts() -> Any:
    from geomclip.panels.comparison.facts import Facts

    return Facts({}, {}, {}, {})


def test_the_block_is_at_most_eight_lines_of_80_columns_however_much_there_is_to_say() -> None:
    keys = ("text_retrieval_ece", "image_retrieval_ece")
    rows = {I2T: DOWN, T2I: DOWN, **COSINES, **{key: moved(0.1, 0.2, "worse") for key in keys}}
    rows |= {"modality_gap": moved(1, 2), "alignment": Row(1.2, 1.5, 0.3, (0.2, 0.4), "worse", True, 0.0, 0.0, True)}
    others = {f"csv:a/rather/long/path/to/the/pairs-{i}.csv": other(DOWN, DOWN) for i in range(4)}
    found = answer(rows, after=guessing(), others=others)
    for width in (80, 110):
        lines = found.block(width)
        assert len(lines) == 8
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("verdict ")
        assert [line.split()[0] for line in lines if line[0] != " "][1:3] == ["retrieval", "primary"]
    assert len(found.lines) == 10  # the record has them all


def test_every_form_of_a_comparison_begins_with_the_verdict() -> None:
    made = small_set(40, 2)
    assert made.text is not None
    after = made.replace(text=made.text + 3 * random_rows(80, 16, seed=9))
    sides = [measure(each, metrics="default", bootstrap=20) for each in (made, after)]
    comparison = compare(*sides, others={"x": compare(*sides)})
    assert comparison.verdict.headline in HEADLINES
    block = str(comparison.verdict)
    assert str(comparison).startswith(f"{block}\n\nbefore ")
    assert str(comparison).rstrip().endswith(block)
    assert "Other data, not trained on\nx (40 images)\n" in str(comparison)
    written = comparison.to_dict()["verdict"]
    assert written["headline"] == comparison.verdict.headline
    assert written["lines"][0] == vars(comparison.verdict.lines[0])
    markdown = tables.comparison_markdown(comparison)
    assert markdown.startswith(f"**verdict: {comparison.verdict.sentence}**\n")
    assert "\n**Other data, not trained on**\n\n| data | metric | before |" in markdown
    assert markdown.count("\n| x | ") == tables.comparison_html(comparison).count("<td>x</td>") == 2
    assert tables.comparison_html(comparison).startswith(f"<div><div><b>verdict: {comparison.verdict.sentence}</b>")


def test_a_comparison_made_by_hand_has_no_block() -> None:
    assert str(Comparison({I2T: UP})).startswith("before  ")
    assert "verdict" not in Comparison({I2T: UP}).to_dict()


# ------------------------------------------------------------------------------------------------ a slice of the study


def narrowed(rows: np.ndarray[Any, Any], by: float) -> np.ndarray[Any, Any]:
    """The rows with one more coordinate, the same for all: every cosine nearer to 1, in the same order."""
    return np.hstack([rows, np.full((len(rows), 1), by)])


def test_a_space_with_one_more_common_direction_narrowed_and_keeps_all_else() -> None:
    made = small_set(60, 2)
    assert made.text is not None
    sides = []
    for by in (0.0, 3.0):
        rows = [narrowed(each.double().numpy(), by).astype(np.float32) for each in (made.image, made.text)]
        scale = 20.0 * (1 + by**2)
        sides.append(measure(EmbeddingSet(*rows, made.image_of_text, logit_scale=scale), bootstrap=20))
    found = compare(*sides).verdict
    assert found.word("space") == "narrowed"
    assert found.headline in ("narrowed", "at chance")


# --- what a broken side must not hide


def ruined(part: float) -> EmbeddingSet:
    """A good set of which so large a part of the image rows is one row."""
    base = good()
    rows = base.image.clone()
    rows[: int(part * len(rows))] = rows[0]
    return base.replace(image=rows)


def good() -> EmbeddingSet:
    image = random_rows(100, 32, seed=3)
    return EmbeddingSet(image, image + 0.12 * random_rows(100, 32, seed=4), logit_scale=30.0)


@pytest.mark.parametrize("part", [0.85, 1.0])
def test_a_side_that_makes_images_equal_is_worse_and_trips_a_gate(part: float) -> None:
    comparison = compare(measure(good(), bootstrap=50), measure(ruined(part), bootstrap=50))
    assert comparison.verdict.headline == "worse"
    assert comparison.verdict.word("retrieval") == "down"
    assert comparison.failure("image_retrieval_recall@1 < -0.01 and q<0.05")


def test_alignment_is_not_better_where_recall_fell() -> None:
    base = good()
    mean = base.image.mean(dim=0)
    apart = [0.03 * random_rows(100, 32, seed=seed) + 10 * mean for seed in (5, 6)]
    drawn = base.replace(image=apart[0], text=apart[1])
    comparison = compare(measure(base, bootstrap=50), measure(drawn, bootstrap=50))
    assert comparison["alignment"].difference < 0
    assert comparison["alignment"].verdict == "lower"


def test_other_numbers_that_moved_stand_in_the_headline() -> None:
    worse = moved(1.2, 1.3, "worse")
    found = answer({I2T: LEVEL, "alignment": worse, "text_retrieval_mean_rank": worse})
    assert found.headline == "no difference"
    assert found.sentence.endswith("2 other numbers worse")
    assert "in what counts first" in found.sentence


def test_nothing_is_cut_on_a_narrow_terminal() -> None:
    found = answer({I2T: UP, T2I: UP})
    assert "..." not in "\n".join(found.block(40))
    assert max(map(len, found.block(40))) <= 40
