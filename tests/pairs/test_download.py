"""Fetching from a local server that drops connections, ignores ranges, serves a wrong byte or nothing."""

import contextlib
import hashlib
import io
import json
import os
import threading
import urllib.request
import zipfile
from dataclasses import replace
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pair_files import COCO, KARPATHY, jpeg
from recorder import Recorder

from geomclip.machine import addresses
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.pairs import Source, datasets, load_pairs
from geomclip.pairs import download as downloading
from geomclip.pairs.datasets import Dataset, Remote
from geomclip.pairs.download import download, download_dataset
from geomclip.pairs.unpacking import unpack

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes, no two neighbours alike
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Site:
    """What the server does next, and what it was asked."""

    def __init__(self):
        self.files = {"/file.bin": CONTENT}
        self.etag = '"one"'
        self.ranges = True  # False: a server that sends the whole file whatever it is asked
        self.drop_after = []  # bytes to send before dropping the connection, one per answer; then all
        self.fail_with = []  # status codes to answer with, one per request; then the file
        self.requests = []  # (path, Range or None, If-Range or None)
        self.redirects = {}  # path to where it leads
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        site = self.site
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        site.requests.append((self.path, wanted, condition))
        if site.fail_with:
            self.send_error(site.fail_with.pop(0))
            return
        if self.path in site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects[self.path])
            self.end_headers()
            return
        if self.path not in site.files:
            self.send_error(404)
            return
        content = site.files[self.path]
        start = 0
        if wanted and site.ranges and condition == site.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if site.etag:
            self.send_header("ETag", site.etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        keep = site.drop_after.pop(0) if site.drop_after else len(content)
        with contextlib.suppress(ConnectionError):  # the client may have seen enough
            self.wfile.write(content[start : start + keep])


@pytest.fixture
def site():
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Handler,), {"site": site}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(site: Site, folder: Path, **options) -> Path:
    return download(f"{site.url}/file.bin", folder / "file.bin", pause=0, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- one file


def test_a_file_is_fetched_checked_and_nothing_else_is_left(site, tmp_path):
    recorder = Recorder()
    file = fetch(
        site,
        tmp_path / "new",
        sha256=SHA256.upper(),
        size=len(CONTENT),
        progress=recorder,
    )
    assert file.read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["file.bin"]
    assert recorder.stages[-1] == ("file.bin", len(CONTENT), len(CONTENT), "")
    fetched = [done for _, done, _, _ in recorder.stages]
    assert fetched == sorted(fetched)


def test_a_file_that_is_there_is_checked_and_not_fetched_again(site, tmp_path):
    fetch(site, tmp_path)
    fetch(site, tmp_path, sha256=SHA256, size=len(CONTENT))
    assert len(site.requests) == 1
    (tmp_path / "file.bin").write_bytes(b"of my own")
    with pytest.raises(GeomclipError, match=r"has the checksum .*delete it to have it fetched"):
        fetch(site, tmp_path, sha256=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == b"of my own"


def test_a_dropped_connection_goes_on_where_it_ended(site, tmp_path):
    site.drop_after = [100_000, 0, 300_000]
    assert fetch(site, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert [wanted for _, wanted, _ in site.requests] == [None, "bytes=100000-", "bytes=100000-", "bytes=400000-"]
    assert {condition for _, _, condition in site.requests[1:]} == {'"one"'}


def test_a_later_call_goes_on_where_a_killed_one_ended(site, tmp_path):
    class Killed(BaseException):
        pass

    def kill(done):
        raise Killed

    with pytest.raises(Killed):
        fetch(site, tmp_path, progress=Recorder(kill))
    part = (tmp_path / "file.bin.part").stat().st_size
    assert part > 0
    assert not (tmp_path / "file.bin").exists()
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:5000])
    assert fetch(site, tmp_path).read_bytes() == CONTENT
    assert site.requests[-1][1] == "bytes=5000-"


def test_a_call_killed_before_the_check_asks_for_nothing_again(site, tmp_path):
    site.drop_after = [0, 0, 0]
    with pytest.raises(NotAvailableError):
        fetch(site, tmp_path)
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    requests = len(site.requests)
    assert fetch(site, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert len(site.requests) == requests


@pytest.mark.parametrize("change", ["ranges are ignored", "the file changed", "no validator", "the part is too long"])
def test_what_cannot_be_resumed_starts_over(site, tmp_path, change):
    site.drop_after = [100_000, 0, 0, 0, 0, 0, 0]
    with pytest.raises(NotAvailableError, match="it ended at 100000 of 1024000 bytes"):
        fetch(site, tmp_path)
    site.drop_after = []
    expected = CONTENT
    if change == "ranges are ignored":
        site.ranges = False
    elif change == "the file changed":
        site.etag, expected = '"two"', CONTENT[::-1]
        site.files["/file.bin"] = expected
    elif change == "no validator":
        (tmp_path / "file.bin.part.json").unlink()
    else:
        (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(site, tmp_path).read_bytes() == expected


def test_a_wrong_byte_is_a_checksum_error_and_the_file_is_not_kept(site, tmp_path):
    site.files["/file.bin"] = CONTENT[:-1] + b"x"
    with pytest.raises(GeomclipError, match=rf"expected {SHA256}; it was not kept, run again") as caught:
        fetch(site, tmp_path, sha256=SHA256, size=len(CONTENT))
    assert caught.value.exit_code == 1
    assert names(tmp_path) == []
    site.files["/file.bin"] = CONTENT
    assert fetch(site, tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused_before_it_comes(site, tmp_path):
    with pytest.raises(GeomclipError, match="has 1024000 bytes, not the 5 of the file expected"):
        fetch(site, tmp_path, size=5)
    assert "file.bin" not in names(tmp_path)


def test_an_address_without_the_file_says_how_to_place_it(site, tmp_path):
    site.files.clear()
    with pytest.raises(
        NotAvailableError, match=r"/file\.bin cannot be fetched \(404 .*place it at .*file\.bin"
    ) as caught:
        fetch(site, tmp_path)
    assert len(site.requests) == 1
    assert caught.value.exit_code == 2


def test_a_busy_server_is_asked_again(site, tmp_path):
    site.fail_with = [503, 429]
    assert fetch(site, tmp_path).read_bytes() == CONTENT
    site.fail_with = [500] * 9
    with pytest.raises(NotAvailableError, match="Internal Server Error"):
        download(f"{site.url}/file.bin", tmp_path / "other", pause=0)
    assert len(site.fail_with) == 6  # who never got a byte gives up after three


def test_no_network_says_what_and_where(tmp_path):
    with pytest.raises(NotAvailableError, match=r"http://127.0.0.1:9/x cannot be fetched .*place it at .*/x"):
        download("http://127.0.0.1:9/x", tmp_path / "x", pause=0)
    with pytest.raises(InputError, match="is not an http or https address"):
        download("file:///etc/passwd", tmp_path / "x")


def test_a_full_disk_is_told_before_and_during(site, tmp_path, monkeypatch):
    usage = downloading.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(GeomclipError, match=r"needs 1024000 bytes and .* has 1000; make room"):
        fetch(site, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(downloading.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(GeomclipError, match=r"No space left|disk is full"):
        fetch(site, tmp_path)


# ---- zips


def zipped(files: dict[str, bytes | str | dict], **options) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, json.dumps(content) if isinstance(content, dict) else content)
    return data.getvalue()


def test_a_zip_is_unpacked_into_place_beside_what_is_there(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    (tmp_path / "t.zip").write_bytes(zipped({"a/1.txt": "1", "b/2.txt": "2", "b/3.md": "3"}))
    unpack(tmp_path / "t.zip", tmp_path, members="*.txt")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} == {
        "a/1.txt", "a/mine.txt", "b/2.txt", "t.zip",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["../up.txt", "/etc/up.txt", "a/../../up.txt", "..\\up.txt"])
def test_a_zip_that_leaves_its_folder_is_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/t.zip").write_bytes(zipped({"good.txt": "1", name: "2"}))
    with pytest.raises(InputError, match="leaves"):
        unpack(tmp_path / "in/t.zip", tmp_path / "in")
    assert names(tmp_path) == ["in"]
    assert names(tmp_path / "in") == ["t.zip"]


def test_links_bombs_and_damage_in_a_zip_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    whole = zipped({"a.bin": CONTENT})
    flipped = bytearray(whole)
    flipped[200] ^= 1
    for content, match in (
        (data.getvalue(), "is a link"),
        (zipped({"zeros": bytes(200 << 20)}), "would grow to 209715200 bytes"),
        (whole[: len(whole) // 2], "is damaged"),
        (bytes(flipped), "is damaged"),
        (b"no zip", "is damaged"),
        (zipped({"b.md": "b"}), r"has no \*\.bin"),
    ):
        (tmp_path / "t.zip").write_bytes(content)
        members = "*.bin" if "has no" in match else "*"
        with pytest.raises(GeomclipError, match=match) as caught:
            unpack(tmp_path / "t.zip", tmp_path, members=members)
        assert "\n" not in str(caught.value)
        assert names(tmp_path) == ["t.zip"]


# ---- data sets


@pytest.fixture
def coco_site(site, monkeypatch):
    """The table's coco, with the addresses, sizes and checksums of the local server."""
    site.files = {
        "/annotations.zip": zipped({name: content for name, content in COCO.items() if "annotations" in name}),
        "/val2017.zip": zipped({name: content for name, content in COCO.items() if "val2017/" in name}),
        "/caption_datasets.zip": zipped({**KARPATHY, "dataset_coco.json": {}}),
    }

    def local(remote: Remote) -> Remote:
        name = "/" + remote.url.rpartition("/")[2].replace("annotations_trainval2017", "annotations")
        content = site.files.get(name, b"")
        checksum = remote.sha256 and hashlib.sha256(content).hexdigest()
        size = remote.size and len(content)
        return Remote(site.url + name, remote.provides, remote.members, size, checksum, remote.split)

    for name in ("coco", "flickr8k"):
        dataset: Dataset = datasets.DATASETS[name]
        remotes = tuple(map(local, dataset.remotes))
        monkeypatch.setitem(datasets.DATASETS, name, replace(dataset, remotes=remotes))
    return site


def test_coco_is_fetched_unpacked_and_read(coco_site, tmp_path):
    recorder = Recorder()
    root = download_dataset("coco", cache_dir=tmp_path, progress=recorder)
    assert root == tmp_path / "data" / "coco"
    assert names(root) == [".annotations.zip.unpacked.json", ".val2017.zip.unpacked.json", "annotations", "val2017"]
    pairs = load_pairs(Source("coco"), cache_dir=tmp_path)
    assert len(pairs) == 2
    assert pairs.pairs[0].image.read() == jpeg()
    assert {name for name, *_ in recorder.stages} >= {"val2017.zip", "unpacking val2017.zip"}
    requests = len(coco_site.requests)
    download_dataset("coco", cache_dir=tmp_path)
    assert len(coco_site.requests) == requests  # nothing was missing


def test_a_data_root_that_has_part_of_a_set_is_completed(coco_site, tmp_path):
    root = tmp_path / "coco"
    download_dataset("coco", data_root=tmp_path)
    (root / "val2017/007.jpg").unlink()
    (root / "val2017/003.jpg").unlink()
    (root / "val2017").rmdir()
    assert download_dataset("coco", data_root=root) == root
    assert [path for path, _, _ in coco_site.requests] == ["/annotations.zip", "/val2017.zip", "/val2017.zip"]


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"")])
def test_a_set_with_a_file_that_is_gone_or_cut_short_is_not_present(coco_site, tmp_path, damage):
    root = download_dataset("coco", cache_dir=tmp_path)
    damage(root / "val2017/007.jpg")
    with pytest.raises(NotAvailableError, match=r"is not whole: of val2017\.zip 1 of the files are gone .*007\.jpg"):
        load_pairs(Source("coco"), cache_dir=tmp_path)
    recorder, requests = Recorder(), len(coco_site.requests)
    download_dataset("coco", cache_dir=tmp_path, progress=recorder)
    assert len(coco_site.requests) == requests + 1
    assert recorder.lines == [
        f"{root}: of val2017.zip 1 of the files are not there whole (first: val2017/007.jpg): fetched"
    ]
    assert len(load_pairs(Source("coco"), cache_dir=tmp_path)) == 2


def test_a_set_placed_by_hand_is_present_unless_it_is_empty(coco_site, tmp_path):
    root = download_dataset("coco", cache_dir=tmp_path)
    for note in root.glob(".*.json"):
        note.unlink()
    requests = len(coco_site.requests)
    download_dataset("coco", cache_dir=tmp_path)
    assert len(coco_site.requests) == requests
    (root / "annotations/captions_val2017.json").write_bytes(b"")
    download_dataset("coco", cache_dir=tmp_path)
    assert len(coco_site.requests) == requests + 1


def test_a_set_whose_unpacking_was_cut_off_is_unpacked_again(coco_site, tmp_path, monkeypatch):
    root = download_dataset("coco", cache_dir=tmp_path)
    (root / ".val2017.zip.unpacked.json").unlink()
    (root / "val2017/007.jpg").unlink()
    (root / "val2017.zip").write_bytes(coco_site.files["/val2017.zip"])
    (root / "val2017.zip.part.json").write_text("{}")  # renamed, and killed before this went
    download_dataset("coco", cache_dir=tmp_path)
    assert (root / "val2017/007.jpg").stat().st_size
    assert not [*root.glob("val2017.zip*")]


def test_what_a_call_that_was_cut_off_at_its_end_left_is_cleared_by_the_next(coco_site, tmp_path):
    root = download_dataset("coco", cache_dir=tmp_path)
    whole, requests = names(root), len(coco_site.requests)
    for name in ("val2017.zip", "val2017.zip.part", "val2017.zip.part.json", ".val2017.zip.unpacked/val2017/1.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    download_dataset("coco", cache_dir=tmp_path)
    assert names(root) == whole
    assert len(coco_site.requests) == requests


def test_files_and_folders_are_on_disk_before_the_archive_goes(tmp_path, monkeypatch):
    (tmp_path / "t.zip").write_bytes(zipped({"a/b/1.txt": "one", "a/2.txt": "two", "3.txt": "three"}))
    done = []
    fsync, replace_file = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (done.append(os.path.realpath(f"/proc/self/fd/{d}")), fsync(d))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace_file(a, b))[1])
    assert unpack(tmp_path / "t.zip", tmp_path) == {"3.txt": 5, "a/2.txt": 3, "a/b/1.txt": 3}
    fresh = str(tmp_path / ".t.zip.unpacked")
    before = done[: done.index("renamed")]
    assert {*before} >= {fresh, *(f"{fresh}/{name}" for name in ("a", "a/b", "a/b/1.txt", "a/2.txt", "3.txt"))}
    assert str(tmp_path) in done[-1 - done[::-1].index("renamed") :]


def test_flickr8k_fetches_the_captions_and_says_where_the_photos_are_given_out(coco_site, tmp_path):
    with pytest.raises(NotAvailableError, match=r"forms\.illinois\.edu.*put them into .*flickr8k/images"):
        download_dataset("flickr8k", data_root=tmp_path)
    root = tmp_path / "flickr8k"
    assert names(root) == [".caption_datasets.zip.unpacked.json", "dataset_flickr8k.json"]
    (root / "images").mkdir()
    assert download_dataset("flickr8k", data_root=tmp_path) == root
    assert load_pairs(Source("flickr8k", data_root=tmp_path)).split == "test"


def test_names_and_splits_that_are_not_fetched_are_refused(coco_site, tmp_path):
    with pytest.raises(InputError, match="'emoji' is not fetched; these are: coco"):
        download_dataset("emoji", cache_dir=tmp_path)
    with pytest.raises(InputError, match="coco has no split 'test'; it has train, val"):
        download_dataset("coco", cache_dir=tmp_path, split="test")
    with pytest.raises(GeomclipError, match=r"train2017\.zip cannot be fetched \(404"):
        download_dataset("coco", cache_dir=tmp_path, split="train")


def test_every_address_of_the_table_has_a_checksum_or_is_karpathys():
    remotes = [remote for dataset in datasets.DATASETS.values() for remote in dataset.remotes]
    assert all(remote.sha256 and remote.size for remote in remotes if "karpathy" not in remote.url)
    assert all(len(remote.sha256) == 64 for remote in remotes if remote.sha256)


def test_http_without_a_checksum_is_refused_before_a_connection(tmp_path):
    with pytest.raises(InputError, match=r"http://example.org/a.zip: by http .* its sha256 is not known"):
        download("http://example.org/a.zip", tmp_path / "a.zip")
    with pytest.raises(InputError, match="is not an http or https address"):
        download("ftp://example.org/a.zip", tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


def test_an_address_that_leads_to_plain_http_is_not_followed(site, tmp_path):
    site.redirects = {"/away": "http://example.org/a.zip", "/here": "/file.bin"}
    with pytest.raises(InputError, match=r"http://example.org/a.zip: by http"):
        download(f"{site.url}/away", tmp_path / "a.zip")
    assert download(f"{site.url}/here", tmp_path / "b.zip").read_bytes() == CONTENT


def test_https_leads_to_no_http_whatever_is_known_of_the_file():
    careful = addresses._Careful(has_sum=True)
    request = urllib.request.Request("https://example.org/a.zip")
    with pytest.raises(InputError, match=r"leads from https to http://example.org/b.zip: refused"):
        careful.redirect_request(request, io.BytesIO(), 302, "", HTTPMessage(), "http://example.org/b.zip")
    on = careful.redirect_request(request, io.BytesIO(), 302, "", HTTPMessage(), "https://example.org/b.zip")
    assert on is not None
    assert on.full_url == "https://example.org/b.zip"


def test_every_known_address_is_https_or_has_a_checksum():
    for dataset in datasets.DATASETS.values():
        for remote in dataset.remotes:
            addresses.check_address(remote.url, has_sum=remote.sha256 is not None)
