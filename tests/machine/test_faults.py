"""A machine that fails while an image is read ends the run; an image that is none is skipped."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import assert_one_line, folder_of_pairs, picture, run_cli
from pair_files import write_tar
from tiny import TinyEncoder, tiny_pairs, tree
from tiny_models import tiny_model

from geomclip.embeddings.store import read_manifest
from geomclip.encoders.extraction.calls import embed, extract
from geomclip.machine import regular
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.images import decode
from geomclip.pairs.reading import value_or_reason
from geomclip.pairs.record import ImageFile
from geomclip.reports.thumbnails import thumbnails
from geomclip.training.pictures import Pictures


def system_error(number: int, file: str = "shelf/3.png") -> OSError:
    return OSError(number, os.strerror(number), file)


FAULTS: dict[str, BaseException] = {
    **{name: system_error(getattr(errno, name)) for name in ("EIO", "EMFILE", "ENFILE", "ESTALE", "ENOMEM", "EACCES")},
    **{name: system_error(getattr(errno, name)) for name in ("ETIMEDOUT", "ENXIO", "EPERM", "ECONNRESET")},
    "time-out": TimeoutError("timed out"),
    "no number": OSError("the volume\nis gone"),
    "memory": MemoryError(),
    "of ours": GeomclipError("shelf/3.png: the disk is full"),
}
faults = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


def fail(error: BaseException) -> Callable[[], Any]:
    def read() -> Any:
        raise error

    return read


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException], None]:
    """From here on, reading the file of this name fails so."""
    whole = ImageFile.read

    def plant(name: str, error: BaseException) -> None:
        def read(self: ImageFile) -> bytes:
            return fail(error)() if self.file.name == name else whole(self)

        monkeypatch.setattr(ImageFile, "read", read)

    return plant


@faults
def test_a_fault_of_the_machine_is_no_reason_to_skip_an_image(fault: BaseException) -> None:
    with pytest.raises(GeomclipError, match=r"^shelf/3\.png") as ended:
        value_or_reason(fail(fault), name="shelf/3.png")
    assert ended.value.exit_code == 1
    assert "\n" not in str(ended.value)


def test_what_may_not_be_read_has_a_way_out() -> None:
    with pytest.raises(GeomclipError, match=r"\(Permission denied\): make it readable .* or take it out of the data"):
        value_or_reason(fail(system_error(errno.EACCES)), name="3.png")


def test_a_name_at_which_no_file_can_be_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for place in ("absent", ".", "file/below", "loop", "n" * 300):
        image = ImageFile(tmp_path / place)
        assert isinstance(value_or_reason(image.read, name=place), str)
        assert (image.identity() == "absent") == (place != ".")
    assert value_or_reason(fail(InputError("3.png is damaged")), name="3.png") == "3.png is damaged"


def test_an_image_that_could_not_be_looked_at_is_not_taken_for_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(self: Path, **_: object) -> None:
        raise system_error(errno.EIO, str(self))

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(GeomclipError, match=r"^shelf/3\.png cannot be read \(Input/output error\)"):
        ImageFile(Path("shelf/3.png")).identity()


@pytest.mark.parametrize("error", [MemoryError(), system_error(errno.EMFILE)])
@pytest.mark.parametrize("step", ["open", "getexif"])
def test_a_decoder_that_the_machine_fails_does_not_call_the_image_damaged(
    error: BaseException, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_here(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("PIL.Image.open" if step == "open" else "PIL.Image.Image.getexif", fail_here)
    with pytest.raises(type(error)):
        decode(picture(0, kind="JPEG"), name="3.jpg")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_extraction_ends_with_its_finished_shards_and_goes_on_to_the_same_bytes(
    workers: int, tmp_path: Path, failing: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = tiny_pairs(tmp_path / "images", 41)
    options = {"batch_size": 4, "shard_rows": 8, "workers": workers}
    whole = tree(extract(TinyEncoder(), pairs, tmp_path / "whole", **options))
    failing("019.png", system_error(errno.EIO, "images/019.png"))
    with pytest.raises(GeomclipError, match=r"images/019\.png cannot be read \(Input/output error\)"):
        extract(TinyEncoder(), pairs, tmp_path / "out", **options)
    monkeypatch.undo()
    manifest = read_manifest(tmp_path / "out")
    assert [shard["number"] for shard in manifest["shards"]] == [0, 1]
    assert (manifest["done"], manifest["skipped"]) == (False, [])
    assert tree(extract(TinyEncoder(), pairs, tmp_path / "out", **options)) == whole


def test_a_cache_never_holds_a_set_that_lacks_what_the_machine_could_not_read(
    tmp_path: Path, failing: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = tiny_pairs(tmp_path / "images", 41)
    failing("019.png", system_error(errno.EMFILE))
    with pytest.raises(GeomclipError, match="Too many open files"):
        embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    monkeypatch.undo()
    assert len(embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache").image) == 41


def test_a_command_ends_with_exit_1_and_one_line(
    tmp_path: Path, failing: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of_pairs(tmp_path / "pairs", 20)
    model = f"local-dir:{tiny_model(tmp_path / 'model')}"
    failing("007.png", system_error(errno.EACCES, str(data / "007.png")))
    arguments = ["--model", model, "--data", f"folder:{data}", "--workers", 0, "--cache-dir", tmp_path / "cache"]
    done = run_cli(capsys, "extract", *arguments, "--out", tmp_path / "store")
    assert_one_line(done, 1, f"{data / '007.png'} cannot be read (Permission denied): make it readable")
    done = run_cli(capsys, "measure", *arguments, "--bootstrap", 0, "--out", tmp_path / "r.json")
    assert_one_line(done, 1, "007.png cannot be read (Permission denied)")
    assert not (tmp_path / "r.json").exists()


def test_a_tar_that_cannot_be_read_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "0.tar", {"a.png": picture(0), "a.txt": b"one", "b.png": picture(1), "b.txt": b"two"})
    (image, _) = (pair.image for pair in load_pairs(Source(f"wds:{tmp_path / '0.tar'}")).pairs)
    refuse = lambda self, *_, **__: fail(system_error(errno.ESTALE, str(self)))()  # noqa: E731
    with monkeypatch.context() as until_mended:
        until_mended.setattr(regular, "binary", refuse)
        with pytest.raises(GeomclipError, match=r"0\.tar cannot be read \(Stale file handle\)"):
            value_or_reason(image.read, name=image.path)
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(GeomclipError, match=r"0\.tar cannot be read \(Stale file handle\)"):
        image.identity()


def test_training_does_not_go_on_without_what_the_machine_could_not_read(
    tmp_path: Path, failing: Callable[..., None]
) -> None:
    pairs = tiny_pairs(tmp_path / "images", 30)
    pictures = Pictures(pairs.pairs, TinyEncoder().preprocess(), name="tiny (train)")
    failing("003.png", MemoryError())
    assert pictures.whole(2) is not None
    with pytest.raises(GeomclipError, match=r"^003\.png: memory ran out while it was read"):
        pictures.whole(3)
    assert pictures.lost == {}


def test_a_page_is_not_made_without_what_the_machine_could_not_read(
    tmp_path: Path, failing: Callable[..., None]
) -> None:
    folder = folder_of_pairs(tmp_path / "data", 6)
    ids = [pair.image_id for pair in load_pairs(Source(f"folder:{folder}")).pairs]
    failing("003.png", system_error(errno.EIO))
    with pytest.raises(GeomclipError, match="Input/output error"):
        thumbnails(ids, {}, {"data": f"folder:{folder}"})
