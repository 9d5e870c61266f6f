"""Each reader names the limit that it refuses by, and reads on where that is raised."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from geomclip.embeddings.files.held import held
from geomclip.encoders.weights import contents
from geomclip.machine.array_files import read_npz
from geomclip.machine.errors import InputError
from geomclip.pairs.images import decode
from geomclip.pairs.parsing import read_json, read_text


def picture(side: int) -> bytes:
    out = io.BytesIO()
    Image.new("1", (side, side)).save(out, "PNG")
    return out.getvalue()


def test_the_limit_of_pixels_can_be_raised_beyond_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"pixels={(1 << 27) + 1}")
    assert decode(picture(100), name="a").size == (100, 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setenv("GEOMCLIP_LIMITS", "pixels=1001")
    with pytest.raises(InputError, match=r"a declares more pixels than 1001: refused; if .*.*=pixels=10000"):
        decode(picture(100), name="a")


def test_an_image_of_more_pixels_says_how_to_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOMCLIP_LIMITS", "pixels=99")
    with pytest.raises(InputError, match=r"a declares 10 x 10 pixels, more than 99: refused; if .*pixels=100"):
        decode(picture(10), name="a")
    monkeypatch.setenv("GEOMCLIP_LIMITS", "pixels=100")
    assert decode(picture(10), name="a").size == (10, 10)


@pytest.mark.parametrize(("read", "limit"), [(read_text, "caption-bytes"), (read_json, "annotation-bytes")])
def test_a_file_beside_images_that_is_too_large_says_how_to_read_it(
    read: Any, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"{limit}=8")
    with pytest.raises(InputError, match=f"too large for a file of its kind: refused; .*GEOMCLIP_LIMITS={limit}=9"):
        read(tmp_path / "a.json")
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"{limit}=9")
    read(tmp_path / "a.json")


def packed(file: Path) -> Path:
    """The zip archive with its members deflated, as torch and numpy read it too."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=zlib.Z_BEST_COMPRESSION) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file


def test_weights_and_vectors_that_unfold_too_far_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"visual.a": torch.zeros(18 << 20)}, tmp_path / "a.pt")
    packed(tmp_path / "a.pt")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("loaded"))
    for read in (held, contents.read_contents):
        with pytest.raises(InputError, match="as a zip bomb: refused; if you trust it, set GEOMCLIP_LIMITS=unfold="):
            read(tmp_path / "a.pt")


def test_a_raised_limit_lets_an_archive_unfold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros(18 << 20, np.float32))
    with pytest.raises(InputError, match="as a zip bomb: refused"):
        read_npz(tmp_path / "a.npz", ["image"])
    monkeypatch.setenv("GEOMCLIP_LIMITS", "unfold=2000")
    assert len(read_npz(tmp_path / "a.npz", ["image"])["image"]) == 18 << 20


def test_a_chunk_of_hdf5_larger_than_what_it_belongs_to_is_refused_unread(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (1, 1), "f4", chunks=(1 << 14, 1 << 13), maxshape=(None, None))
        file.create_dataset("text", (1 << 40,), h5py.string_dtype(), chunks=(1 << 20,))
    with pytest.raises(InputError, match=r"image claims 536870912 bytes of .*: refused; if you trust it"):
        held(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["image"]
    with pytest.raises(InputError, match=r"text claims .* bytes of .*: refused; if you trust it"):
        held(tmp_path / "a.h5")


def test_a_long_header_of_tensors_is_refused_as_vectors_too(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes((60 << 20).to_bytes(8, "little") + b"{")
    with pytest.raises(InputError, match="62914560 bytes of the header of a safetensors file, more than 16777216"):
        held(tmp_path / "a.safetensors")
