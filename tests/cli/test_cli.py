"""The commands: flags, exit codes, what goes where, and that they pass on what was asked."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytest
from helpers import Done, answer_to_control_c, assert_one_line, folder_of_pairs, run_cli, small_set, without_sums
from tiny_models import tiny_model

import geomclip
from geomclip.cli import app, arguments, options

Cli = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(capsys, *arguments)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from geomclip.embeddings.store import save

    file = tmp_path_factory.mktemp("vectors") / "toy.npz"
    save(small_set(), file)
    return file


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What `measure` handed to `embed`; measuring stops there."""
    import geomclip.encoders.extraction.calls

    seen: dict[str, dict[str, Any]] = {}

    def embed(**passed: Any) -> None:
        seen["embed"] = passed
        raise geomclip.machine.errors.GeomclipError("seen")

    monkeypatch.setattr(geomclip.encoders.extraction.calls, "embed", embed)
    return seen


def process(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own."""
    command = [sys.executable, "-m", "geomclip", *map(str, arguments)]
    return subprocess.run(command, text=True, check=False, **{"capture_output": True, **more})


# --- help and names


def test_the_version_is_printed(run: Cli) -> None:
    assert run("--version") == Done(0, f"geomclip {geomclip.__version__}\n", "")


def test_no_command_shows_the_help(run: Cli) -> None:
    bare, requested = run(), run("--help")
    assert bare.code == requested.code == 0
    assert bare.out == requested.out
    assert "Commands:" in bare.out


@pytest.mark.parametrize("command", [[], *([name] for name in app.app.commands), ["data", "download"]])
def test_help_shows_examples_that_parse(run: Cli, command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.code == 0
    shown = done.out.split("Examples:\n")[1].splitlines()
    assert all(line.startswith("  ") for line in shown)
    for line in shown:
        program, *arguments = shlex.split(line)
        assert program == "geomclip"
        if "COMMAND" in arguments:
            continue
        name, *rest = arguments
        parsed = app.app.commands[name].make_context(name, rest, parent=app.app.make_context("geomclip", [name]))
        assert parsed.command.name == name


def test_the_flags_of_the_interface_are_there() -> None:
    promised = [
        *("model", "pretrained", "arch", "data", "split", "embeddings", "data-root", "cache-dir", "batch-size"),
        *("workers", "device", "precision", "logit-scale", "temperature", "bootstrap", "limit", "seed", "out"),
        *("json", "quiet", "debug", "metrics", "curves", "paper", "captions", "by"),
        *("image-column", "text-column", "image-id-column", "image-root"),
    ]
    flags = {flag for option in app.app.commands["measure"].params for flag in option.opts}
    assert {f"--{name}" for name in promised} <= flags
    assert {"--out", "--shard-rows", "--raw"} <= {
        flag for option in app.app.commands["extract"].params for flag in option.opts
    }


def test_every_option_has_a_help_text() -> None:
    for name, command in app.app.commands.items():
        for option in command.params:
            if option.param_type_name == "option":  # what an argument is, the command's own text says
                assert getattr(option, "help", None), f"{name} {option.opts}"


def test_snake_case_is_kebab_case(run: Cli, calls: dict[str, dict[str, Any]]) -> None:
    run("measure", "--batch_size", "7", "--data_root", "d", "--image_id_column=id")
    snake = dict(calls["embed"])
    run("measure", "--batch-size", "7", "--data-root", "d", "--image-id-column=id")
    passed = {name: value for name, value in snake.items() if name not in ("progress", "log")}
    assert passed == {name: value for name, value in calls["embed"].items() if name not in ("progress", "log")}
    assert (passed["batch_size"], passed["data_root"], passed["image_id_column"]) == (7, Path("d"), "id")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mesure"], "no command 'mesure'; did you mean measure?"),
        (
            ["xyz"],
            "no command 'xyz'; the commands are cache, card, check, compare, data, doctor, evaluate, export, extract, "
            "finetune, ground, measure, models",
        ),
        (["data", "dowload"], "no command 'dowload'; did you mean download?"),
        (["measure", "--bach-size", "3"], "no option --bach-size; did you mean --batch-size?"),
        (["measure", "--zzz"], "no option --zzz; geomclip measure --help lists them"),
        (["measure", "--batch-size", "x"], "'--batch-size'"),
        (["measure", "--batch-size", "0"], "'--batch-size'"),
        (["measure", "--limit", "1"], "'--limit'"),
        (["measure", "--bootstrap", "-1"], "'--bootstrap'"),
        (["measure", "--precision", "fp8"], "'fp32', 'bf16', 'fp16', 'auto'"),
        (["measure", "--temperature", "0"], "'--temperature'"),
        (["measure", "--model"], "'--model' requires an argument"),
        (["measure", "stray"], "stray"),
        (["extract"], "'--out'"),
        (["data", "download"], "'NAME'"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_line(run: Cli, arguments: list[str], expected: str) -> None:
    assert_one_line(run(*arguments), 2, expected)


# --- measure


def test_the_defaults_are_the_demo_model_on_emoji(run: Cli, calls: dict[str, dict[str, Any]]) -> None:
    run("measure")
    passed = calls["embed"]
    assert (passed["model"], passed["data"], passed["precision"], passed["seed"]) == ("demo", "emoji", "fp32", 0)


def test_every_option_of_extraction_reaches_embed(run: Cli, calls: dict[str, dict[str, Any]]) -> None:
    groups = options.MODEL, options.DATA, options.WORK, options.SEED, options.CACHE
    run("measure")
    assert set(calls["embed"]) == {*arguments.names(*groups), "logit_scale", "progress"}


def test_a_table_goes_to_stdout_and_nothing_to_stderr(run: Cli, vectors: Path) -> None:
    done = run("measure", "--embeddings", vectors, "--bootstrap", 0)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("toy (test) · none\n12 images · 36 texts · 16 dimensions · logit scale 20")
    assert "\nModality gap " in done.out
    assert "more: --full\n" in done.out
    assert "\x1b" not in done.out


def test_full_prints_every_number_and_json_is_whole_with_it_or_without(run: Cli, vectors: Path) -> None:
    at = ["measure", "--embeddings", vectors, "--bootstrap", 0]
    done = run(*at, "--full")
    assert "\nmodality_gap " in done.out
    assert "--full" not in done.out
    assert len(done.out.splitlines()) > 2 * len(run(*at).out.splitlines())
    whole, other = (json.loads(run(*at, "--json", *more).out) for more in ([], ["--full"]))
    assert whole["metrics"] == other["metrics"]


def test_a_terminal_of_40_columns_gets_a_table_that_fits(
    run: Cli, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = run("measure", "--embeddings", vectors, "--bootstrap", 0).out.splitlines()
    assert max(map(len, lines)) <= 40
    assert sum(line.startswith(("R@1 image → text ", "modality gap ")) for line in lines) == 2


def test_json_is_the_result_and_out_holds_the_same(run: Cli, vectors: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    done = run("measure", "--embeddings", vectors, "--bootstrap", 0, "--json", "--out", out)
    assert done.code == 0
    printed, written = json.loads(done.out), json.loads(out.read_text())
    assert printed["schema"] == "geomclip.measure/1"
    assert printed == without_sums(written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.items.parquet", "r.json"]


def test_temperature_is_one_over_the_scale(run: Cli, vectors: Path) -> None:
    at = ["measure", "--embeddings", vectors, "--bootstrap", 0, "--json", "--metrics", "image_retrieval_ece"]
    by_scale = json.loads(run(*at, "--logit-scale", 50).out)
    by_temperature = json.loads(run(*at, "--temperature", 0.02).out)
    assert by_scale["logit_scale"] == by_temperature["logit_scale"] == 50
    assert by_scale["metrics"] == by_temperature["metrics"]
    assert by_scale["metrics"] != json.loads(run(*at).out)["metrics"]


def test_metrics_seed_captions_and_bootstrap_are_passed_on(run: Cli, tmp_path: Path) -> None:
    geomclip.save(small_set(20), tmp_path / "toy.npz")  # with fewer images there are no intervals
    at = ["measure", "--embeddings", tmp_path / "toy.npz", "--json"]
    arguments = [
        *at,
        "--metrics",
        "alignment,modality_gap",
        "--captions",
        "first",
        "--bootstrap",
        20,
        "--seed",
        3,
    ]
    result = json.loads(run(*arguments).out)
    assert set(result["metrics"]) == {"alignment", "modality_gap"}
    assert result["n_texts"] == 20
    assert result["seed"] == 3
    assert set(result["ci"]) == {"alignment", "modality_gap"}
    assert json.loads(run(*at, "--metrics", "alignment", "--bootstrap", 0).out)["ci"] == {}


def test_float64_paper_and_curves_are_passed_on(run: Cli, vectors: Path) -> None:
    at = ["measure", "--embeddings", vectors, "--json", "--bootstrap", 0, "--metrics", "alignment"]
    result = json.loads(run(*at, "--dtype", "float64", "--curves", "--paper", "oh2023").out)
    assert result["params"]["dtype"] == "float64"
    assert set(result["curves"]) == {"gap_shift_curve", "gap_ablation_curve"}
    assert len(result["metrics"]) == 3


def test_by_a_column_adds_a_column_for_each_value(run: Cli, vectors: Path) -> None:
    done = run("measure", "--embeddings", vectors, "--bootstrap", 0, "--by", "source", "--metrics", "alignment")
    lines = done.out.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("by source"))
    assert lines[place].split() == ["by", "source", "all", "a", "b"]
    assert lines[place + 1].split() == ["images", "12", "6", "6"]


def test_vectors_are_swept_on_the_device_that_is_asked_for(run: Cli, vectors: Path) -> None:
    at = ["measure", "--embeddings", vectors, "--bootstrap", 0, "--metrics", "alignment", "--json"]
    assert json.loads(run(*at, "--device", "cpu").out)["params"]["device"] == "cpu"
    assert_one_line(run(*at, "--device", "cuda:99"), 2, "--device cuda:99: torch", "GPUs here")
    assert_one_line(run(*at, "--device", "gpu"), 2, "unknown device 'gpu': use cpu, cuda, cuda:N or auto")


def test_embeddings_and_extraction_exclude_each_other(run: Cli, vectors: Path) -> None:
    done = run("measure", "--embeddings", vectors, "--model", "demo", "--data", "emoji")
    assert_one_line(done, 2, "--embeddings says what to measure: leave out --model, --data")


def test_scale_and_temperature_exclude_each_other(run: Cli, vectors: Path) -> None:
    done = run("measure", "--embeddings", vectors, "--logit-scale", 3, "--temperature", 3)
    assert_one_line(done, 2, "give one of them")


def test_an_unknown_metric_is_told_before_the_long_work(run: Cli, calls: dict[str, dict[str, Any]]) -> None:
    assert_one_line(run("measure", "--metrics", "modality_gab"), 2, "modality_gap")
    assert calls == {}


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("absent/r.json", "absent does not exist"),
        ("r.txt", "must be a file whose name ends in .json"),
        ("folder.json", "is a folder"),
        ("file/r.json", "is not a folder"),
    ],
)
def test_an_unusable_output_is_told_before_the_long_work(
    run: Cli, calls: dict[str, dict[str, Any]], tmp_path: Path, out: str, expected: str
) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    assert_one_line(run("measure", "--out", tmp_path / out), 2, expected)
    assert calls == {}


# --- extract, models, data, doctor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{tiny_model(tmp_path_factory.mktemp('model') / 'tiny')}"


def test_extract_then_measure_gives_what_measure_gives(run: Cli, model: str, tmp_path: Path) -> None:
    data, store = f"folder:{folder_of_pairs(tmp_path / 'pairs')}", tmp_path / "store"
    extracting = ["--model", model, "--data", data, "--workers", 0]
    done = run("extract", *extracting, "--out", store, "--shard-rows", 4)
    assert done.code == 0, done.err
    assert done.out == f"{store}\n"
    assert len(list(store.glob("img_emb/*.npy"))) == 2
    at = ["measure", "--bootstrap", 0, "--json", "--metrics", "alignment,modality_gap"]
    stored = json.loads(run(*at, "--embeddings", store).out)
    direct = json.loads(run(*at, *extracting, "--cache-dir", tmp_path / "cache").out)
    assert stored["metrics"] == pytest.approx(direct["metrics"], abs=1e-6)
    assert stored["model"] == direct["model"]


def test_extract_again_leaves_the_store_as_it_is(run: Cli, model: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    arguments = ["--model", model, "--data", f"folder:{folder_of_pairs(tmp_path / 'pairs')}", "--workers", 0]
    assert run("extract", *arguments, "--out", store).code == 0
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.npy")}
    assert run("extract", *arguments, "--out", store).code == 0
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.npy")} == before


def test_models_and_data_are_listed(run: Cli) -> None:
    models, data = run("models"), run("data")
    assert models.code == data.code == 0
    assert "ViT-B/32" in models.out
    assert "laion2b_s34b_b79k" in models.out
    assert all(name in data.out for name in ("emoji", "coco", "flickr8k", "csv:FILE", "wds:PATTERN"))


def test_data_are_looked_for_where_data_root_says(run: Cli, tmp_path: Path) -> None:
    assert "nowhere" in run("data", "--data-root", tmp_path / "nowhere").out


def test_download_passes_on_what_was_asked(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from geomclip.pairs import download

    seen: dict[str, Any] = {}

    def download_dataset(name: str, **passed: Any) -> Path:
        seen.update(passed, name=name)
        return Path("there")

    monkeypatch.setattr(download, "download_dataset", download_dataset)
    assert run("data", "download", "coco", "--data-root", "r", "--split", "train") == Done(0, "there\n", "")
    assert (seen["name"], seen["data_root"], seen["split"]) == ("coco", Path("r"), "train")


def test_doctor_looks_and_never_fails(run: Cli, tmp_path: Path) -> None:
    done = run("doctor", "--cache-dir", tmp_path / "not" / "yet")
    assert (done.code, done.err) == (0, "")
    for name in (
        "geomclip",
        "Python",
        "torch",
        "device",
        "fastest precision",
        "C++ compiler",
        "cache",
        "hub",
    ):
        assert f"\n{name} " in f"\n{done.out}"


# --- when things go wrong


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    import geomclip.embeddings.store

    def load(path: Path, **_: object) -> None:
        raise error

    monkeypatch.setattr(geomclip.embeddings.store, "load", load)


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (geomclip.machine.errors.InputError("no such file\nreally"), 2, "no such file really"),
        (geomclip.machine.errors.GeomclipError("failed"), 1, "failed"),
        (ValueError("row 3 is zero"), 2, "row 3 is zero"),
        (OSError(28, "No space left on device", "r.json"), 1, "No space left on device: r.json"),
        (MemoryError(), 1, "memory ran out"),
        (RuntimeError("a bug"), 1, "RuntimeError: a bug (--debug shows where)"),
        (KeyboardInterrupt(), 130, "interrupted; what is finished is kept"),
        (KeyboardInterrupt("step 3 is saved"), 130, "interrupted; step 3 is saved"),
    ],
)
def test_each_failure_has_its_exit_code_and_one_line(
    run: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, expected: str
) -> None:
    failing(monkeypatch, error)
    assert_one_line(run("measure", "--embeddings", "x.npz"), code, expected)


def test_debug_adds_the_traceback(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, RuntimeError("a bug"))
    done = run("measure", "--embeddings", "x.npz", "--debug")
    assert done.code == 1
    assert done.err.startswith("Traceback (most recent call last):")
    assert done.err.endswith("geomclip: error: RuntimeError: a bug (--debug shows where)\n")


def broken_pipe() -> TextIO:
    """A file to write to whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize("arguments", [["--help"], ["models"]])
def test_a_reader_that_has_seen_enough_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", broken_pipe())
    assert app.main(arguments) == 0
    sys.stdout.close()  # flushes, as Python does at exit
    assert capsys.readouterr().err == ""


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@needs_full
def test_a_full_disk_behind_stdout_is_one_line_and_nothing_at_exit() -> None:
    with open("/dev/full", "w") as full:
        done = process("--help", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert (done.returncode, done.stderr) == (1, "geomclip: error: No space left on device\n")


@needs_full
def test_a_full_disk_behind_a_table_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(OSError), open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert app.main(["models"]) == 1
    assert capsys.readouterr().err == "geomclip: error: No space left on device\n"


def test_a_terminal_without_arrows_gets_question_marks(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert app.main(["measure", "--embeddings", str(vectors), "--bootstrap", "0", "--metrics", "alignment"]) == 0
    assert b"? lower is better" in written.getvalue()


def interrupted(ready: Path, code: str, by: int = signal.SIGINT) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the code, sent Ctrl-C (or another signal) once the file is there."""
    # a shell that runs the tests in the background has them ignore Ctrl-C, and children inherit that
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=-1, stderr=-1, text=True, preexec_fn=answer_to_control_c
    )
    until = time.monotonic() + 60
    while not ready.exists() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    child.send_signal(by)
    yield child


@pytest.fixture
def hung_up() -> Iterator[None]:
    """Children hear SIGHUP also where these tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("by", "code_of_it"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["INT", "TERM", "HUP"],
)
def test_a_signal_that_ends_is_one_line_and_an_exit_code_of_its_own(
    tmp_path: Path, hung_up: None, by: int, code_of_it: int
) -> None:
    ready = tmp_path / "ready"
    code = (
        "import pathlib, sys, time, geomclip.pairs.download as download\n"
        "from geomclip.cli.app import main\n"
        f"download.download_dataset = lambda *_, **__: (pathlib.Path({str(ready)!r}).touch(), time.sleep(60))\n"
        "sys.exit(main(['data', 'download', 'coco']))\n"
    )
    for child in interrupted(ready, code, by):
        out, err = child.communicate(timeout=30)
        assert (child.returncode, out) == (code_of_it, "")
        assert err == "geomclip: error: interrupted; what is finished is kept, the same command goes on from there\n"


def test_control_c_while_it_is_imported_is_one_line(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    slow = tmp_path / "slow"
    slow.mkdir()
    # stands in the way of the first thing that the command imports
    (slow / "click.py").write_text(f"import pathlib, time\npathlib.Path({str(ready)!r}).touch()\ntime.sleep(60)\n")
    code = f"import sys; sys.path.insert(0, {str(slow)!r}); from geomclip.__main__ import main; sys.exit(main())"
    for child in interrupted(ready, code):
        out, err = child.communicate(timeout=30)
        assert (child.returncode, out) == (130, "")
        assert err == "geomclip: error: interrupted; nothing was begun\n"


# --- the report of long work


class Terminal:
    """A stand-in for sys.stderr that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [False, True])
def test_bars_show_on_a_terminal_unless_quiet(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    from geomclip.cli.terminal import progress_bar

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar(quiet=quiet) as report:
        report.stage("encoding", 5, 20, "1 skipped")
        report.stage("intervals", 1, 2)
        report.log("resumes at 5")
    assert ("5/20" in terminal.text) is not quiet
    assert ("1 skipped" in terminal.text) is not quiet
    assert ("intervals" in terminal.text) is not quiet
    assert ("resumes at 5" in terminal.text) is not quiet


def test_without_a_terminal_only_lines_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    from geomclip.cli.terminal import progress_bar

    with progress_bar(quiet=False) as report:
        report.stage("encoding", 5, 20)
        report.stage("val2017.zip", 1, None)
        report.log("resumes at 5")
    assert capsys.readouterr() == ("", "resumes at 5\n")
