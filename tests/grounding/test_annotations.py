"""Annotations in the layouts of four data sets and our own: what is read, cut, left out, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomclip.grounding.annotations import FORMATS, load_queries, unrelated, wording
from geomclip.grounding.annotations.record import Annotations
from geomclip.grounding.record import Query
from geomclip.machine.errors import InputError

CHARADES = "3MSZA 24.3 30.4##person turn a light on.\n3MSZA 2 9.5##person sits.\nAO8RW 0.0 6.9##a book ## on a shelf.\n"
LENGTHS = {
    "3MSZA": {"subset": "testing", "duration": 30.0, "actions": [[149, 16.0, 22.2]]},
    "AO8RW": {"duration": 33.5},
}
ACTIVITYNET = {
    "v_a": {
        "duration": 82.73,
        "timestamps": [[0.83, 19.86], [17, 82.75]],
        "sentences": ["A girl dances.", " She bows."],
    },
    "v_b": {"duration": 10, "timestamps": [[3, 3], [5, 4], [1, 2]], "sentences": ["x", "y", "z"]},
}
TACOS = {
    "s17-d69.avi": {
        "timestamps": [[0, 50], [50, 100], [50, 100], [100, 250]],
        "sentences": ["He cuts.", "He washes.", "he  washes.", "He cuts."],
        "fps": 25.0,
        "num_frames": 200,
    }
}
QV = {"qid": 8737, "query": "A family plays.", "duration": 126, "vid": "bP5KfdFJzC4_660.0_810.0"}
QVHIGHLIGHTS = [
    QV | {"relevant_windows": [[0, 16], [30, 40]], "relevant_clip_ids": [0, 1], "saliency_scores": [[4, 1, 1]]},
    QV | {"qid": 8738, "query": "They rest."},
]
OWN = [
    {"video": "holiday/1.mp4", "text": "a dog runs", "start": 0, "end": 2.5, "duration": 9},
    {"video": "holiday/1.mp4", "text": "a bird", "windows": [[1, 2], [7, 8]], "duration": 9, "id": "bird"},
    {"video": "2.mp4", "text": "nobody knows when", "duration": 4},
]

Load = Callable[..., Annotations]


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """What a file with this content is read as."""

    def loaded(content: str | bytes, **options: Any) -> Annotations:
        file = tmp_path / "file"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        (tmp_path / "charades.json").write_text(json.dumps(LENGTHS))
        return load_queries(file, **options)

    return loaded


OFFICIAL = {
    "charades": CHARADES,
    "activitynet": json.dumps(ACTIVITYNET),
    "tacos": json.dumps(TACOS),
    "qvhighlights": lines(QVHIGHLIGHTS),
    "jsonl": lines(OWN),
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_format_is_known_by_its_content_and_reads_the_same_if_named(load: Load, format: str) -> None:
    found = load(OFFICIAL[format])
    assert found.format == format
    assert load(OFFICIAL[format], format=format) == found
    assert all(0 <= start < end <= query.duration for query in found.queries for start, end in query.windows)
    assert len({query.id for query in found.queries}) == len(found.queries)


@pytest.mark.parametrize("format", FORMATS)
def test_line_ends_and_a_byte_order_mark_change_nothing(load: Load, format: str) -> None:
    text = OFFICIAL[format]
    assert load(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()).queries == load(text).queries
    assert load(("\n" + text).encode()).queries == load(text).queries


def test_json_over_many_lines_reads_the_same(load: Load) -> None:
    assert load(json.dumps(ACTIVITYNET, indent=1)).queries == load(json.dumps(ACTIVITYNET)).queries


def test_charades_is_cut_to_the_durations_beside_it(load: Load) -> None:
    found = load(CHARADES)
    assert found.queries[0] == Query("3MSZA", "person turn a light on.", ((24.3, 30.0),), 30.0, "3MSZA#0")
    assert [query.id for query in found.queries] == ["3MSZA#0", "3MSZA#1", "AO8RW#0"]
    assert found.queries[2].text == "a book ## on a shelf."
    assert found.clipped == 1
    assert found.cut == (pytest.approx(0.4),)
    assert found.videos == {"3MSZA": 30.0, "AO8RW": 33.5}


def test_activitynet_leaves_reversed_and_empty_moments_out_and_names_them(load: Load, tmp_path: Path) -> None:
    found = load(json.dumps(ACTIVITYNET))
    assert [query.text for query in found.queries] == ["A girl dances.", "She bows.", "z"]
    assert found.queries[1].windows == ((17.0, 82.73),)
    assert found.queries[2].id == "v_b#2"
    assert [(skip.where, skip.reason) for skip in found.skipped] == [
        (f"{tmp_path / 'file'} 'v_b' sentence 1", "is empty: 3 to 3"),
        (f"{tmp_path / 'file'} 'v_b' sentence 2", "is reversed: 5 to 4"),
    ]


def test_tacos_counts_frames_and_repeats(load: Load) -> None:
    found = load(json.dumps(TACOS))
    assert [query.windows for query in found.queries] == [((0, 2),), ((2, 4),), ((2, 4),), ((4, 8),)]
    assert found.queries[0].duration == 8
    assert found.clipped == 1
    assert found.same_sentence == ((0, 3),)
    assert found.duplicates == 1
    assert len(found.notes()) == 3


def test_qvhighlights_has_several_windows_or_none(load: Load) -> None:
    found = load(lines(QVHIGHLIGHTS))
    assert found.queries[0] == Query(QV["vid"], QV["query"], ((0.0, 16.0), (30.0, 40.0)), 126.0, "8737")
    assert found.queries[1].windows == ()
    assert found.notes() == ()


def test_a_sentence_whose_moment_is_not_known_is_neither_a_repeat_nor_names_another(load: Load) -> None:
    found = load(lines([QV, QV | {"qid": 2}, QV | {"qid": 3, "relevant_windows": [[0, 1]]}]))
    assert len(found.queries) == 3
    assert (found.same_sentence, found.duplicates) == ((), 0)


def test_our_own_form_has_one_window_or_several_or_none(load: Load) -> None:
    found = load(lines(OWN)).queries
    assert [query.windows for query in found] == [((0, 2.5),), ((1, 2), (7, 8)), ()]
    assert [query.id for query in found] == ["holiday/1.mp4#0", "bird", "2.mp4#0"]


@pytest.mark.parametrize(
    "durations",
    ['{"v": 4}', '{"v": {"duration": 4.0}}', "id,length,more\nv,4.00,x\n", "\ufeffmore,length,id\r\nx,4,v\r\n"],
)
def test_durations_come_from_json_or_csv(load: Load, tmp_path: Path, durations: str) -> None:
    (tmp_path / "lengths").write_text(durations, newline="")
    row = {"video": "v", "text": "t", "start": 1, "end": 9}
    assert load(lines([row]), durations=tmp_path / "lengths").queries[0].windows == ((1, 4),)
    assert load("v 1 9##t", durations=tmp_path / "lengths").queries[0].duration == 4
    assert load("v 1 9##t", durations={"v": 5}).queries[0].duration == 5


def test_a_moment_outside_its_video_is_left_out(load: Load) -> None:
    row = {"video": "v", "text": "t", "windows": [[8, 9], [-3, -1], [-1, 2], [7, 9], [1, 2], [1, 2]], "duration": 8}
    found = load(lines([row]))
    assert found.queries[0].windows == ((0, 2), (7, 8), (1, 2))
    assert found.clipped == 2
    assert [skip.reason[:27] for skip in found.skipped] == ["is outside its video of 8 s"] * 2


def test_what_has_no_word_or_no_moment_is_left_out(load: Load) -> None:
    rows = [OWN[0], OWN[0] | {"text": " \u2003 "}, OWN[1] | {"windows": []}]
    found = load(lines(rows))
    assert [skip.reason for skip in found.skipped] == ["has no sentence", "has no moment"]
    assert len(found.queries) == 1
    with pytest.raises(InputError, match=r"holds no sentence that can be used: .* line 1 has no sentence"):
        load(lines(rows[1:]))


def test_a_sentence_is_one_line_without_what_a_terminal_acts_on(load: Load) -> None:
    found = load(lines([OWN[0] | {"text": "ein Hünd\n läuft \x1b[31m \ud800 犬 "}])).queries[0].text
    assert found == "ein Hünd läuft \ufffd[31m \ufffd 犬"


DEEP = "[" * 100_000
REFUSED = {
    "empty": ("", "is empty"),
    "white space": (" \n", "is empty"),
    "another text": ("# Notes\n## two\n", "is in none of the formats known .*charades: .*jsonl: "),
    "another object": ('{"a": 1}', "is in none of the formats known"),
    "cut short": (json.dumps(ACTIVITYNET)[:-20], "is not valid JSON"),
    "too deep": ('{"v_a": ' + DEEP, "too deep"),
    "latin-1": (CHARADES.replace("book", "b\xfcch").encode("latin-1"), "is not UTF-8"),
    "utf-16": (CHARADES.encode("utf-16"), "is not UTF-8"),
    "two words": ("3MSZA 1##a\n", "none of the formats"),
    "nan in a line": ("3MSZA 1 2##a\n3MSZA nan 3##a", r"file line 2: 'nan' is no number of seconds"),
    "underscore": ("3MSZA 1 2_0##a", "'2_0' is no number"),
    "digits of others": ("3MSZA 1 ２##a", "is no number"),
    "huge in a line": ("3MSZA 1 1e300##a", "file line 1 should be a number of at most 10000000"),
    "no separator": ("3MSZA 1 2##a\n\n3MSZA 1 2 a", "file line 3 should be VIDEO START END##SENTENCE"),
    "four words": ("3MSZA 1 2##a\n3MSZA 1 2 3##a", "file line 2 should be VIDEO START END##SENTENCE"),
    "no duration": ("3MSZA 1 2##a\nother 1 2##b", "file line 2: nothing says how long 'other' is"),
    "NaN": (json.dumps(ACTIVITYNET).replace("19.86", "NaN"), "NaN is no JSON"),
    "Infinity": (json.dumps(TACOS).replace("25.0", "Infinity"), "Infinity is no JSON"),
    "1e999": (json.dumps(ACTIVITYNET).replace("19.86", "1e999"), "'v_a' sentence 1, end should be a number"),
    "10**400": (json.dumps(ACTIVITYNET).replace("19.86", "1" + "0" * 400), "sentence 1, end should be a number"),
    "a long number": (json.dumps(ACTIVITYNET).replace("19.86", "1" * 5000), "is not valid JSON"),
    "true": (json.dumps(ACTIVITYNET).replace("19.86", "true"), "end should be a number .* is True"),
    "three ends": (json.dumps(ACTIVITYNET).replace("19.86", "1, 2"), r"should be \[start, end\]"),
    "a key twice": (json.dumps(ACTIVITYNET).replace("v_b", "v_a"), "'v_a' is there twice"),
    "fewer sentences": (json.dumps(ACTIVITYNET).replace('"x", ', ""), "'v_b' has 3 timestamps for 2 sentences"),
    "a sentence that is none": (json.dumps(ACTIVITYNET).replace('"x"', "7"), "'v_b' sentence 1 should be text, is 7"),
    "no frames": (json.dumps(TACOS).replace("200", "0"), "num_frames should be above 0"),
    "fps below 0": (json.dumps(TACOS).replace("25.0", "-25"), "fps should be above 0"),
    "a tiny fps": (json.dumps(TACOS).replace("25.0", "1e-300"), "'s17-d69.avi' should be a number of at most"),
    "a list": (lines([QVHIGHLIGHTS[0], []]), r"file line 2 should be an object, is \[\]"),
    "no qid": (lines([QV | {"qid": None}]), "line 1, qid should be a whole number, is missing"),
    "qid twice": (lines([QV, QV]), "line 2 has the id '8737', which .* line 1 has"),
    "windows of text": (lines([QV | {"relevant_windows": "0"}]), "line 1, relevant_windows should be a list"),
    "a window of one": (lines([QV | {"relevant_windows": [[1]]}]), r"relevant_windows 1 should be \[start, end\]"),
    "two durations": (lines([QV, QV | {"qid": 1, "duration": 9}]), "has 9 s, but 126 at .* line 1"),
    "both": (lines([OWN[0] | {"windows": [[1, 2]]}]), "line 1 has windows, and start or end too"),
    "no end": (lines([OWN[2] | {"start": 1}]), "line 1, end should be a number .* None"),
    "no length": (lines([{"video": "v", "text": "t"}]), "nothing says how long 'v' is: give it a duration"),
    "a video without a name": (lines([OWN[0] | {"video": " "}]), "cannot be an id"),
    "a line end in a name": (lines([OWN[0] | {"video": "a\nb"}]), "cannot be an id"),
    "a long name": (lines([OWN[0] | {"video": "a" * 201}]), "cannot be an id"),
    "half a letter": (lines([OWN[0] | {"video": "\ud800"}]), "cannot be an id"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(load: Load, case: str) -> None:
    content, expected = REFUSED[case]
    with pytest.raises(InputError, match=expected) as refused:
        load(content)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate((1 << 27) + 1)
    with pytest.raises(InputError, match="is larger than 128 MiB"):
        load_queries(file)


def test_the_ways_out_are_named(load: Load, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no format 'charade'; did you mean charades"):
        load(CHARADES, format="charade")
    with pytest.raises(InputError, match="is tacos, which says how long its videos are: leave durations out"):
        load(json.dumps(TACOS), durations={})
    with pytest.raises(InputError, match=r"nothing.json: no such file"):
        load(CHARADES, durations=tmp_path / "nothing.json")
    with pytest.raises(InputError, match="duration of '3MSZA' should be a number"):
        load(CHARADES, durations={"3MSZA": float("nan")})
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "x.txt").write_text(CHARADES)
    with pytest.raises(InputError, match=r"does not say how long its videos are: put charades.json beside it"):
        load_queries(tmp_path / "alone" / "x.txt")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id;length\nv;4\n", "has no columns id and length"),
        ("id,length\nv,\n", "row 2: '' is no number of seconds"),
        ("id,length\nv,0\n", "row 2, length should be above 0"),
        ('id,length\n"v,4\n', "is no csv"),
        ('{"v": {"length": 3}}', "'v', duration should be a number"),
        ("[1]", "should be an object"),
    ],
)
def test_durations_that_are_none_are_refused(load: Load, tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "lengths").write_text(content)
    with pytest.raises(InputError, match=expected):
        load("v 1 9##t", durations=tmp_path / "lengths")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(content)
    for format in (None, *FORMATS):
        with pytest.raises(InputError) as refused:
            load_queries(file, format=format, durations={} if format in ("charades", "jsonl") else None)
        assert "\n" not in str(refused.value)


times = st.floats(-5, 25).map(lambda value: round(value, 1))


@given(st.lists(st.tuples(times, times), min_size=1, max_size=6), st.integers(1, 20))
def test_every_moment_is_kept_cut_or_named(
    tmp_path_factory: pytest.TempPathFactory, moments: list[tuple[float, float]], duration: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "moments"
    usable = {"video": "sure", "text": "t", "start": 0, "end": 1, "duration": 1}
    rows = [{"video": "v", "text": "t", "start": a, "end": b, "duration": duration} for a, b in moments]
    file.write_text(lines([usable, *rows]))
    found = load_queries(file)
    kept = [query.windows[0] for query in found.queries if query.video == "v"]
    expected = [(max(a, 0), min(b, duration)) for a, b in moments if a < b and a < duration and b > 0]
    assert kept == expected
    assert len(found.skipped) == len(moments) - len(kept)
    assert found.clipped == sum(a < b and a < duration and b > 0 and (a < 0 or b > duration) for a, b in moments)


words = st.sampled_from(["a dog", "A  dog", "a cat", "a dog."])


@given(st.lists(st.tuples(st.sampled_from("uv"), words, st.integers(0, 2)), max_size=8), st.booleans())
def test_the_same_sentence_is_no_negative_of_itself(made: list[tuple[str, str, int]], across: bool) -> None:
    queries = [Query(video, text, ((at, at + 1.0),), 9.0) for video, text, at in made]
    mask = unrelated(queries, across_videos=across)
    assert mask.shape == (len(made), len(made))
    for one, row in zip(queries, mask.tolist(), strict=True):
        assert row == [
            wording(one.text) != wording(other.text) or (not across and one.video != other.video) for other in queries
        ]
    held = Annotations(Path("f"), "jsonl", tuple(queries))
    linked = {pair for places in held.same_sentence for pair in pairwise(places)}
    assert all(not mask[one, other] for one, other in linked)
    distinct = {(query.video, wording(query.text), query.windows) for query in queries}
    assert held.duplicates == len(queries) - len(distinct)
    assert sum(len(places) > 1 for places in held.same_sentence) == sum(
        len({window for video, text, window in distinct if (video, text) == key}) > 1
        for key in {(video, text) for video, text, _ in distinct}
    )
