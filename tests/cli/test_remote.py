"""Commands on what lies at addresses: as on files here, and no key of an address in anything that is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import Done, assert_one_line, random_rows, run_cli
from web import Web, serving

import geomclip
from geomclip.embeddings.record import EmbeddingSet

SECRET = "c0ffee-secret"
Cli = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    return lambda *words: run_cli(capsys, *words, "--cache-dir", tmp_path / "cache")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A server with two stores, b and a, of the same pairs."""
    with serving() as found:
        for number, name in enumerate("ab"):
            rows = random_rows(40, 8, seed=number).float(), random_rows(40, 8, seed=2).float()
            ids = {"image_id": tuple(map(str, range(40))), "caption_id": tuple(map(str, range(40)))}
            found.put(geomclip.save(EmbeddingSet(*rows, **ids, logit_scale=20.0), tmp_path / name), f"/{name}/")
        yield found


def written(folder: Path) -> str:
    """The names and bytes of all that lies below a folder."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return "".join(f"{file} {file.read_bytes().decode('latin-1')}" for file in files)


def test_measure_gives_the_numbers_of_the_store_here(run: Cli, web: Web, tmp_path: Path) -> None:
    options = ("--bootstrap", 0, "--json")
    here, there = (run("measure", "--embeddings", name, *options) for name in (tmp_path / "a", f"{web.url}/a"))
    assert there.code == 0, there.err
    assert json.loads(there.out)["metrics"] == json.loads(here.out)["metrics"]


def test_no_key_is_in_what_is_printed_written_or_kept(run: Cli, web: Web, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    pages = [word for kind in ("json", "html", "md") for word in ("--out", out / f"a.{kind}")]
    one, two = (f"{web.url}/{name}?sig={SECRET}" for name in "ab")
    measured = run("measure", "--embeddings", one, "--bootstrap", 0, "--keep-paths", *pages)
    pages = [word for kind in ("json", "html") for word in ("--out", out / f"ab.{kind}")]
    compared = run("compare", one, two, "--bootstrap", 10, "--no-thumbnails", *pages)
    for done in (measured, compared):
        assert done.code == 0, done.err
        assert SECRET not in done.out + done.err
    assert len(list(out.iterdir())) >= 5
    assert f"{web.url}/a" in (out / "a.html").read_text()
    assert SECRET not in written(out) + written(tmp_path / "cache")


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_a_store_without_rights_is_one_line(run: Cli, web: Web, debug: tuple[str, ...]) -> None:
    web.status["/a/manifest.json"] = 403
    done = run("measure", "--embeddings", f"{web.url}/a?sig={SECRET}", *debug)
    assert done.code == 2
    assert SECRET not in done.out + done.err
    if not debug:
        assert_one_line(done, 2, f"{web.url}/a/manifest.json may not be read (403 Forbidden): name an address that")


@pytest.mark.parametrize(
    "words",
    [
        ("measure", "--embeddings", "{}/none?sig={}"),
        ("compare", "{}/none?sig={}", "{}/none?sig={}"),
        ("report", "{}/none?sig={}"),
        ("project", "--embeddings", "{}/none?sig={}"),
        ("extract", "--data", "csv:{}/none?sig={}", "--out", "store"),
        ("finetune", "--data", "csv:{}/none?sig={}", "--out", "run"),
        ("finetune", "--also", "csv:{}/none?sig={}", "--out", "run"),
        ("evaluate", "--task", "fewshot", "--embeddings", "{}/none?sig={}"),
        ("measure", "{}/a?sig={}"),  # which takes no argument
        ("compare", "{}/a.json?sig={}", "demo"),
        ("plan", "--width", "0.1", "--embeddings", "{}/none?sig={}"),
    ],
)
def test_every_command_refuses_what_is_not_there_in_one_line(
    run: Cli, web: Web, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*(word.format(web.url, SECRET) for word in words), "--quiet")
    assert_one_line(done, 2, web.url.partition("://")[2])
    assert SECRET not in done.err


def test_nothing_is_written_to_an_address(run: Cli, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("measure", "--out", "s3://bucket/r.json"), ("extract", "--out", "s3://bucket/store")):
        assert_one_line(run(*words), 2, "s3://... is an address, and nothing is written there")
    assert not Path("s3:").exists()


def test_the_cache_lists_what_was_fetched_and_clears_it(run: Cli, web: Web, tmp_path: Path) -> None:
    assert run("measure", "--embeddings", f"{web.url}/a?sig={SECRET}", "--bootstrap", 0).code == 0
    listed = json.loads(run("cache", "--json").out)["entries"]
    (entry,) = [each for each in listed if each["kind"] == "remote"]
    assert entry["about"] == f"{web.url}/a"
    assert entry["kept"] == ""
    assert entry["files"] == 6  # those of the store, and the note
    removed = json.loads(run("cache", "prune", "--max-size", "0", "--json").out)["removed"]
    assert "remote" in {each["kind"] for each in removed}
    assert not list((tmp_path / "cache" / "remote").iterdir())
