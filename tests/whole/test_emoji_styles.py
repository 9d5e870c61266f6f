"""The script that fetches emoji styles, against a registry of this machine: what it takes and what it refuses."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import helpers
import pytest
from helpers import run_cli
from PIL import Image

from geomclip.pairs.emoji import emoji_pairs

pytest.importorskip("resvg_py")
FILES: dict[str, Any] = {
    "package.json": {"name": "@iconify-json/noto", "license": "Apache-2.0"},
    "info.json": {
        "name": "Noto Emoji",
        "author": {"name": "Google Inc", "url": "https://example.org/noto"},
        "license": {"spdx": "Apache-2.0", "url": "https://example.org/licence"},
    },
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return helpers.script("emoji_styles", "analyses/fetch_emoji_styles.py")


class Registry(ThreadingHTTPServer):
    """Serves one package; its sum is that of the package unless another is stated."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.archive = b""
        self.integrity: str | None = None
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def serve(self, archive: bytes, integrity: str | None = None) -> None:
        self.archive, self.integrity = archive, integrity

    def metadata(self) -> bytes:
        own = f"sha512-{base64.b64encode(hashlib.sha512(self.archive).digest()).decode()}"
        dist = {"tarball": f"{self.url}/noto.tgz", "integrity": self.integrity or own}
        return json.dumps({"dist": dist}).encode()


class Answer(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.archive if self.path == "/noto.tgz" else self.server.metadata()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def packed(*odd: tarfile.TarInfo, **changed: Any) -> bytes:
    """A package of two pictures, a red and a blue one, of the first two concepts of test."""
    first, second = (pair.image_id for pair in emoji_pairs("test").pairs[:2])
    icons = {
        "red": {"body": '<path fill="red" d="M0 0h20v20H0z"/>'},
        "half": {"body": '<path fill="blue" d="M0 0h10v10H0z"/>', "width": 10, "height": 10},
    }
    known: dict[str, Any] = {
        **FILES,
        "chars.json": {first.lower(): "red", f"{second.lower()}-fe0f": "half", "1f999": "not there"},
        "icons.json": {"icons": icons, "width": 20, "height": 20},
    } | {f"{name}.json": content for name, content in changed.items()}
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for member in odd:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        for name, content in known.items():
            member = tarfile.TarInfo(f"package/{name}")
            data = json.dumps(content).encode()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(whole.getvalue())


def run(script: ModuleType, registry: Registry, out: Path, *more: str) -> None:
    script.main([str(out), "--styles", "noto", "--size", "20", "--registry", registry.url, *more])


def refused(script: ModuleType, registry: Registry, out: Path) -> str:
    """The message, one line; nothing is left."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(SystemExit) as caught:
        run(script, registry, out)
    assert sorted(out.parent.iterdir()) == before
    assert isinstance(caught.value.code, str)
    assert "\n" not in caught.value.code
    return caught.value.code


def test_pictures_have_the_ids_groups_and_splits_of_the_built_in_data(
    script: ModuleType, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.serve(packed())
    run(script, registry, tmp_path / "styles")
    assert registry.asked[0] == "/@iconify-json%2Fnoto/1.2.9"
    assert "noto                      2 pictures, Apache-2.0; it lacks 364 (" in capsys.readouterr().out
    assert len(list((tmp_path / "styles" / "openmoji").iterdir())) == 366
    with (tmp_path / "styles" / "noto.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, pair in zip(rows, emoji_pairs("test").pairs, strict=False):
        assert (row["image_id"], row["title"], row["split"]) == (pair.image_id, row["name"], "test")
        assert row["name"] == pair.captions[0]
        known = dict(pair.columns)
        assert [row[name] for name in ("group", "subgroup", "concept")] == [
            known[name] for name in ("group", "subgroup", "concept")
        ]
    colours = [Image.open(tmp_path / "styles" / row["filepath"]).convert("RGB") for row in rows]
    assert [each.size for each in colours] == [(20, 20)] * 2
    # each is drawn in its own box
    assert [each.getcolors() for each in colours] == [[(400, (255, 0, 0))], [(400, (0, 0, 255))]]
    words = (tmp_path / "styles" / "LICENCES.txt").read_text(encoding="utf-8")
    for said in (
        "CC BY-SA 4.0",
        "Google Inc",
        "Apache-2.0, https://example.org/licence",
        "@iconify-json/noto@1.2.9",
        "sha512-",
    ):
        assert said in words


def test_a_package_of_another_sum_is_not_read(script: ModuleType, registry: Registry, tmp_path: Path) -> None:
    registry.serve(packed(), "sha512-" + base64.b64encode(bytes(64)).decode())
    assert "another sha512 than the registry states" in refused(script, registry, tmp_path / "styles")
    registry.serve(packed(), "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=")
    assert "states no sha512" in refused(script, registry, tmp_path / "styles")


@pytest.mark.parametrize("name", ["package/../../out.svg", "/out.svg", "..\\out.svg"])
def test_a_name_that_leaves_the_package_is_refused(
    script: ModuleType, registry: Registry, tmp_path: Path, name: str
) -> None:
    registry.serve(packed(tarfile.TarInfo(name)))
    assert "leaves" in refused(script, registry, tmp_path / "styles")


def test_a_link_too_much_and_half_an_archive_are_refused(
    script: ModuleType, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tarfile.TarInfo("package/icons.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    registry.serve(packed(link))
    assert "is no plain file" in refused(script, registry, tmp_path / "styles")
    registry.serve(packed()[:-200])
    assert "cut short" in refused(script, registry, tmp_path / "styles")
    registry.serve(b"no archive")
    assert "cannot be read" in refused(script, registry, tmp_path / "styles")
    monkeypatch.setattr(script, "MOST_UNPACKED", 1 << 20)
    large = tarfile.TarInfo("package/large")
    large.size = 1 << 21
    registry.serve(packed(large))
    assert "would grow to more than 1 MiB" in refused(script, registry, tmp_path / "styles")
    monkeypatch.setattr(script, "MOST_PACKED", 1000)
    assert "has more than 0 MiB" in refused(script, registry, tmp_path / "styles")


def info(licence: object, author: str = "Google Inc") -> dict[str, Any]:
    return {"name": "Emoji", "author": {"name": author}, "license": licence}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"info": info({"spdx": "LicenseRef-own"})}, "licence 'LicenseRef-own' is not known to be free"),
        ({"info": info(None)}, "licence None is not known to be free"),
        ({"info": info({"spdx": "MIT"})}, "said to be MIT, the package 'Apache-2.0'"),
        ({"info": info({"spdx": "Apache-2.0"}, "Apple Inc.")}, "pictures of Apple are not free"),
        ({"chars": []}, "chars.json is no JSON object"),
        ({"icons": {}}, "icons.json has no icons"),
    ],
)
def test_an_unknown_licence_is_refused(
    script: ModuleType, registry: Registry, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    registry.serve(packed(**changed))
    assert said in refused(script, registry, tmp_path / "styles")


@pytest.mark.parametrize(
    "body",
    ['<image href="file:///etc/passwd"/>', '<use xlink:href="../x.svg#a"/>', '<path style="fill:url(http://x/#a)"/>'],
)
def test_a_picture_that_reaches_for_files_is_not_drawn(
    script: ModuleType, registry: Registry, tmp_path: Path, body: str
) -> None:
    registry.serve(packed(icons={"icons": {"red": {"body": body}}}))
    assert "'red' names another file" in refused(script, registry, tmp_path / "styles")


def test_a_picture_that_is_none_leaves_nothing_behind(script: ModuleType, registry: Registry, tmp_path: Path) -> None:
    registry.serve(packed(icons={"icons": {"red": {"body": "<path"}}}))
    assert "cannot be drawn" in refused(script, registry, tmp_path / "styles")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert "is there already" in refused(script, registry, tmp_path / "full")


def test_the_registry_is_that_of_npm_unless_one_is_named(
    script: ModuleType, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.serve(packed())
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = [str(tmp_path / "a"), "--styles", "noto", "--size", "8"]
    with pytest.raises(SystemExit, match="name one with --registry"):
        script.main(asked)
    (tmp_path / "npm").write_text(f"#!/bin/sh\necho {registry.url}/\n")
    (tmp_path / "npm").chmod(0o755)
    script.main(asked)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{registry.url}/mirror")
    script.main([str(tmp_path / "b"), *asked[1:]])
    assert registry.asked[::2] == ["/@iconify-json%2Fnoto/1.2.9", "/mirror/@iconify-json%2Fnoto/1.2.9"]


def test_a_style_is_a_set_beside_the_built_in_data(
    script: ModuleType, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [pair for pair in emoji_pairs("test").pairs if dict(pair.columns)["group"] in ("Activities", "Objects")]
    icons = {"icons": {"red": {"body": '<path fill="red" d="M0 0h20v20H0z"/>'}}}
    registry.serve(packed(icons=icons, chars={pair.image_id.lower(): "red" for pair in pairs}))
    run(script, registry, tmp_path / "styles")
    how = ("--label-column", "group", "--image-id-column", "image_id", "--bootstrap", "0", "--json")
    family = f"noto=csv:{tmp_path / 'styles' / 'noto.csv'}"
    capsys.readouterr()
    done = run_cli(capsys, "evaluate", "--task", "shift", "--family", family, *how)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    # pictures of one id are one unit with those of OpenMoji
    assert found["n_images"] == len(emoji_pairs("test").pairs)
    assert found["groups"]["noto"]["n_images"] == len(pairs)
