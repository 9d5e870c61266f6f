"""Gates of measure and finetune, and what all share: exit codes, order, examples. Those of compare: test_compare.py."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from helpers import Done, assert_one_line, class_set, run_cli, small_set

from geomclip.cli import app
from geomclip.cli.gates import judged, trip
from geomclip.embeddings.store import save
from geomclip.machine.errors import GateError, GeomclipError, InputError
from geomclip.panels.gates import Outcome
from geomclip.panels.record import Panel
from geomclip.panels.summary import of_panel

Cli = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    save(small_set(24), "pairs.npz")
    save(class_set(), "classes.npz")
    return lambda *arguments: run_cli(capsys, *arguments)


MEASURE = ("measure", "--embeddings", "pairs.npz", "--bootstrap", 0)


def test_a_gate_of_measure_trips_after_the_table_and_the_file(run: Cli) -> None:
    done = run(*MEASURE, "--fail-if", "modality_gap > 0.1", "--fail-if", "modality_gap<0", "--out", "r.json")
    assert done.code == 3
    value = json.loads(Path("r.json").read_text())["metrics"]["modality_gap"]
    shown = f"geomclip: error: --fail-if 'modality_gap > 0.1': modality_gap is {value:.6g}\n"
    assert done.err == shown
    assert "Modality gap " in done.out


def test_a_gate_of_measure_that_does_not_hold_passes(run: Cli) -> None:
    done = run(*MEASURE, "--fail-if", "modality_gap<0", "--warn-if", "alignment>9", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["metrics"]["modality_gap"] > 0


def test_a_warning_of_measure_is_no_failure(run: Cli) -> None:
    done = run(*MEASURE, "--warn-if", "modality_gap>0", "--quiet")
    assert done.code == 0
    assert done.err.startswith("geomclip: warning: --warn-if 'modality_gap>0': modality_gap is ")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("modality_gab>0", "unknown metric 'modality_gab'; nearest: modality_gap"),
        ("modality_gap worse", "geomclip compare"),
        ("modality_gap>0 and q<0.05", "leave 'and q<0.05' out"),
        ("modality_gap_squared>0", "--metrics all measures all"),
        ("oh2023_uniformity>0", "unknown metric"),
        ("modality_gap", "write KEY<NUMBER"),
    ],
)
def test_a_condition_of_measure_is_refused_before_anything_is_read(run: Cli, condition: str, expected: str) -> None:
    for flag in ("--fail-if", "--warn-if"):
        assert_one_line(run("measure", "--embeddings", "absent.npz", flag, condition), 2, expected)


def test_a_number_that_is_not_there_is_no_pass_though_another_gate_trips(run: Cli) -> None:
    gates = ("--fail-if", "image_retrieval_recall@1<0.5", "--fail-if", "alignment<0", "--fail-if", "modality_gap>0")
    done = run("measure", "--embeddings", "classes.npz", "--bootstrap", 0, *gates)
    assert done.code == 2
    assert "Modality gap " in done.out
    assert done.err.count("\n") == 1
    for words in (
        "'image_retrieval_recall@1<0.5': image_retrieval_recall@1 has no value here (",
        "--fail-if 'modality",
    ):
        assert words in done.err


def test_keys_of_a_paper_can_be_gated_where_it_is_named(run: Cli) -> None:
    assert run(*MEASURE, "--paper", "oh2023", "--fail-if", "oh2023_uniformity>-9").code == 3


def test_a_full_disk_is_no_regression(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("geomclip.machine.files.os.fsync", full)
    done = run(*MEASURE, "--fail-if", "modality_gap>0", "--out", "r.json")
    assert done.code == 1
    assert "the disk is full" in done.err
    assert "--fail-if" not in done.err
    # the file that was to be written is not there, in whole or part
    assert sorted(path.name for path in Path().iterdir()) == ["classes.npz", "pairs.npz"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--fail-if", "alignmet worse and q<0.05"], "unknown metric 'alignmet'; nearest: alignment"),
        (["--warn-if", "zeroshot_acc1<0"], "unknown metric 'zeroshot_acc1'"),
        (["--fail-if", "alignment worse"], "alignment is no primary key"),
        (["--fail-if", "alignment<0 and q<0.05", "--bootstrap", "0"], "--bootstrap 0 leaves no intervals"),
        (["--fail-if", "modality_gap_squared<0"], "--metrics all measures all"),
    ],
)
def test_a_gate_of_finetune_is_refused_before_training(run: Cli, arguments: list[str], expected: str) -> None:
    done = run("finetune", "--model", "demo", "--out", "run", *arguments)
    assert_one_line(done, 2, expected)
    assert "--primary" not in done.err  # finetune has no such option
    assert not Path("run").exists()


def test_conditions_are_judged_one_by_one() -> None:
    def failure(condition: str) -> str:
        if condition == "x":
            raise ValueError("x cannot be\njudged")
        return f"{condition!r}: holds" if condition == "a" else ""

    found = judged({"fail_if": ("a", "b"), "warn_if": ("a", "x")}, failure)
    words = [("a", "tripped"), ("b", "passed"), ("a", "warned"), ("x", "not judged")]
    assert [(each.condition, each.word) for each in found] == words
    with pytest.raises(InputError, match=r"^x cannot be judged; --fail-if 'a': holds$"):
        trip(found)
    with pytest.raises(GateError, match=r"^--fail-if 'a': holds$"):
        trip(found[:2])
    assert trip(found[1:2]) is None


# --- summaries


def test_a_summary_is_appended_with_gates_and_ten_rows_before_the_gate_trips(run: Cli) -> None:
    Path("page").write_text("# Before\n\n")
    gates = ("--fail-if", "modality_gap > 0.1", "--warn-if", "alignment<0")
    for _ in range(2):
        assert run(*MEASURE, *gates, "--summary", "page").code == 3
    before, first, second = Path("page").read_text().split("### geomclip measure: gates 1 tripped, 1 passed\n")
    assert before == "# Before\n\n"
    assert first == second
    assert "| `modality_gap > 0.1` | **tripped** | modality_gap is " in first
    assert "| `alignment<0` | passed |  |" in first
    rows = first.split("| metric |")[1].splitlines()[2:]
    assert len([line for line in rows if line.startswith("| `")]) == 10
    assert rows[0].startswith("| `modality_gap` |")  # that of the gate is there, and first


def test_a_summary_of_a_comparison_begins_with_what_came_of_it(run: Cli) -> None:
    save(small_set(24, seed=4), "other.npz")
    sides = ("compare", "pairs.npz", "other.npz", "--bootstrap", 0, "--metrics", "alignment,modality_gap")
    assert run(*sides, "--summary", "s.md", "--fail-if", "alignment<-9").code == 0
    lines = Path("s.md").read_text().splitlines()
    assert lines[:3] == [
        "### geomclip compare: gates 1 passed",
        "",
        "- verdict: unclear: nothing that is judged here has an interval",
    ]
    assert sum(line.startswith("| `") for line in lines) == 3
    judged = run(*sides[:3], "--metrics", "alignment", "--summary", "j.md")
    assert judged.code == 0
    assert "- verdict: no difference that can be told" in Path("j.md").read_text()


def test_a_gate_that_cannot_be_judged_is_in_the_summary(run: Cli) -> None:
    classes = ("measure", "--embeddings", "classes.npz", "--bootstrap", 0, "--summary", "s.md")
    assert run(*classes, "--fail-if", "image_retrieval_recall@1<0.5").code == 2
    assert "| `image_retrieval_recall@1<0.5` | **not judged** | image_retrieval_recall@1 has no value" in (
        Path("s.md").read_text()
    )


@pytest.mark.parametrize("place", ["absent/s.md", "folder"])
def test_a_summary_that_cannot_be_written_is_refused_before_the_work(run: Cli, place: str) -> None:
    Path("folder").mkdir()
    for words in (("measure", "--embeddings", "absent.npz"), ("compare", "a.npz", "b.npz"), ("finetune",)):
        assert_one_line(run(*words, "--summary", place), 2, place.split("/")[0])


def test_a_full_disk_leaves_a_summary_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geomclip.machine.outputs import append_text

    append_text(tmp_path / "s.md", "first\n")
    write = os.write
    monkeypatch.setattr("geomclip.machine.outputs.os.write", lambda descriptor, content: write(descriptor, content[:3]))
    with pytest.raises(GeomclipError, match="the disk is full"):
        append_text(tmp_path / "s.md", "second\n")
    assert (tmp_path / "s.md").read_text() == "first\n"


def test_a_page_takes_nothing_of_a_summary_for_a_tag() -> None:
    panel = Panel({"alignment": 0.5}, notes={"x": "a <b>"}, made_from={"model": "m|<i>"}, n_images=4)
    text = of_panel(panel, "geomclip measure", [Outcome("alignment<`1`", "tripped", "'alignment<`1`': <u>")])
    assert not re.search(r"<[biu]>", text)
    assert "- x: a &lt;b&gt;" in text
    assert "| `alignment<'1'` | **tripped** | " in text
    assert text.endswith("\n\n")
    many = of_panel(panel.replace(notes={f"n{i}": f"note {i}" for i in range(20)}), "c")
    assert "- 12 more notes in the result" in many


# --- examples of every --help


def commands(group: click.Group = app.app, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The words of each command with its epilog."""
    yield above, group.epilog or ""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command.epilog or ""


EXAMPLES = [
    line.strip() for _, epilog in commands() for line in epilog.splitlines() if line.strip().startswith("geomclip ")
]
SPECIAL = re.compile(r"[<>|&;$`*?\[\](){}!~#]")
"""What a shell acts on outside of quotes."""


def assert_survives_a_shell(line: str) -> None:
    """Fail if a shell would act on something in the line, rather than hand it on."""
    bare = re.sub(r"'[^']*'|\"[^\"$`\\]*\"", "", line)
    assert not SPECIAL.search(bare), line


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_of_help_survives_a_shell_and_parses(line: str) -> None:
    assert_survives_a_shell(line)
    words = shlex.split(line)[1:]
    if "COMMAND" in words:
        return
    command: click.Command = app.app
    context = app.app.make_context("geomclip", list(words[:1]))
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    with command.make_context(command.name, list(words), parent=context) as parsed:
        assert parsed.command is command


def test_every_command_that_is_shown_has_examples() -> None:
    assert [words for words, epilog in commands() if "geomclip " not in epilog] == []
    assert len(EXAMPLES) > 40


def test_an_example_that_a_shell_would_cut_is_seen() -> None:
    with pytest.raises(AssertionError):
        assert_survives_a_shell("geomclip measure --fail-if alignment<0")
