"""Fetching data sets from their official addresses: resumed, checked, there when they are complete."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from geomclip.machine import files
from geomclip.machine.addresses import check_address, open_address
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.machine.lock import Lock
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import one_line
from geomclip.pairs.datasets import DATASETS, Remote, find_folder, folders_searched
from geomclip.pairs.unpacked import is_present, lost, note_of, write_note
from geomclip.pairs.unpacking import unpack, unpacking_at

CHUNK = 1 << 20
TIMEOUT = 60.0  # seconds without a byte
PATIENCE = 6  # failures in a row, without a byte between them, before giving up


def download_dataset(
    name: str,
    *,
    data_root: str | Path | None = None,
    cache_dir: Path | None = None,
    split: str | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Fetch what is missing of a named set and return its folder; what is there already is kept.

    `split` is for sets whose splits come apart (coco: val if left out, else train). It goes to the folder
    where the set is, else to `data_root`/name (the cache's data/ without a `data_root`).

    Raises
    ------
    InputError
        If the set has no official address, or no such split.
    NotAvailableError
        If an address cannot be reached, or the rest is given out by hand only: says how to place it.
    GeomclipError
        If what came is not what was expected, or the disk is full.
    """
    dataset = DATASETS.get(name)
    fetched = [known for known in DATASETS.values() if known.remotes]
    if dataset is None or not dataset.remotes:
        raise InputError(f"{name!r} is not fetched; these are: {', '.join(known.name for known in fetched)}")
    splits = {remote.split for remote in dataset.remotes if remote.split}
    split = split or ("val" if splits else None)
    if splits and split not in splits:
        raise InputError(f"{name} has no split {split!r}; it has {', '.join(sorted(splits))}")
    found = find_folder(dataset, data_root=data_root, cache_dir=cache_dir)
    root = found or folders_searched(dataset, data_root=data_root, cache_dir=cache_dir)[-1]
    with Lock(root):
        for remote in dataset.remotes:
            if remote.split not in (None, split):
                continue
            if is_present(root, remote.archive, remote.provides):
                _clear(root / remote.archive)
                continue
            if gone := lost(root, remote.archive):
                what = f"of {remote.archive} {len(gone)} of the files are not there whole (first: {gone[0]})"
                progress.log(f"{root}: {what}: fetched")
            fetch_and_unpack(remote, root, progress=progress)
    if dataset.by_hand and not any((root / photos).is_dir() for photos in dataset.photos):
        where = dataset.by_hand.format(root=root)
        raise NotAvailableError(f"the captions of {name} are at {root}, the photos are not: {where}")
    return root


def _clear(archive: Path) -> None:
    """Remove what is left of an archive once all of it is noted: by a call that was cut off here, too."""
    if not note_of(archive.parent, archive.name).exists():
        return  # placed by hand
    part = _part(archive)
    for file in (archive, part, _note(part)):
        file.unlink(missing_ok=True)
    shutil.rmtree(unpacking_at(archive, archive.parent), ignore_errors=True)


def fetch_and_unpack(remote: Remote, root: Path, *, progress: Progress = SILENT) -> None:
    """Fetch one zip into `root`, unpack what is wanted of it, and delete it."""
    archive = root / remote.archive
    download(remote.url, archive, sha256=remote.sha256, size=remote.size, progress=progress)
    sizes = unpack(archive, root, members=remote.members, progress=progress)
    if not (root / remote.provides).exists():
        raise GeomclipError(f"{archive} from {remote.url} has no {remote.provides}; it is not the file expected")
    write_note(root, archive.name, sizes)
    _clear(archive)


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress = SILENT,
    pause: float = 1.0,
) -> Path:
    """Fetch `url` to `target`, which appears only when it is complete and right.

    Bytes are collected in `target`.part; a dropped connection, or a later call, goes on where it ended, if
    the server says that the file is still the same (its ETag or date, sent back as If-Range). After
    failures it waits `pause` seconds, then twice that, and so on. A `target` that is there is only checked.

    Parameters
    ----------
    url : str
        https; http where `sha256` is given.
    sha256, size : optional
        What the file must be; else the size that the server names must have come.
    progress : Progress, optional
        Takes a stage of the file's name: the bytes done and their total.

    Raises
    ------
    InputError
        If it is an http address without a `sha256`, or leads to one, or from https to http.
    NotAvailableError
        If the address cannot be reached or has no such file; says how to place the file by hand.
    GeomclipError
        If the file that came is not the one expected (it is not kept), or the disk is full.
    """
    check_address(url, has_sum=sha256 is not None)
    part = _part(target)
    if target.exists():
        _check(target, target, sha256=sha256, size=size, url=url)
        _note(part).unlink(missing_ok=True)  # of a call that was cut off before
        return target
    files.make_folder(target.parent)
    files.refuse_links(part.parent, part.name)
    failures = 0
    while True:
        before = _size(part)
        try:
            total = _fetch(url, part, size=size, has_sum=sha256 is not None, progress=progress, name=target.name)
            if total is None or _size(part) == total:
                break
            problem: Exception = ConnectionError(f"it ended at {_size(part)} of {total} bytes")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 429):
                raise _unreachable(url, target, f"{error.code} {error.reason}") from error
            problem = error
        except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
            problem = error
        except OSError as error:
            raise GeomclipError(f"{part} cannot be written: {one_line(error, 200)}; make room and run again") from error
        failures = 0 if _size(part) > before else failures + 1
        # who never got a byte is more likely offline than unlucky
        if failures >= (PATIENCE if _size(part) else 3):
            reason = getattr(problem, "reason", None)  # of an URLError: the OSError within
            cause = reason if isinstance(reason, OSError) else problem
            raise _unreachable(url, target, one_line(cause, 200)) from problem
        time.sleep(pause * 2**failures)
    _check(part, target, sha256=sha256, size=size, url=url)
    os.replace(part, target)
    files.sync_folder(target.parent)
    _note(part).unlink(missing_ok=True)
    return target


def _fetch(url: str, part: Path, *, size: int | None, has_sum: bool, progress: Progress, name: str) -> int | None:
    """One connection: append to `part` what comes, or start it anew; the total that the server named."""
    done = _size(part)
    known = _read_note(part)
    headers = {"User-Agent": "geomclip", "Accept-Encoding": "identity"}
    if done and known.get("url") == url and known.get("total") == done:
        return done  # killed between the last byte and the check
    if done and known.get("url") == url and known.get("validator"):
        headers |= {"Range": f"bytes={done}-", "If-Range": known["validator"]}
    with _open(urllib.request.Request(url, headers=headers), has_sum) as answer:
        if answer.status == 206:
            start, total = _content_range(answer)
            if start != done:
                raise ConnectionError(f"bytes from {done} were requested and came from {start}")
        else:  # a server without ranges, or a file that changed: from the start
            start = 0
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
        if size is not None and total is not None and total != size:
            raise GeomclipError(f"{url} has {total} bytes, not the {size} of the file expected; it has changed")
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            raise GeomclipError(f"{url} needs {total - start} bytes and {part.parent} has {free}; make room")
        etag = answer.headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")
        files.atomic_json(_note(part), {"url": url, "validator": validator, "total": total})
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            done = start
            while chunk := _read(answer):
                file.write(chunk)
                done += len(chunk)
                if size is not None and done > size:
                    raise GeomclipError(f"{url} sends more than the {size} bytes of the file expected; it has changed")
                progress.stage(name, done, total)
            file.flush()
            os.fsync(file.fileno())
    return total


def _open(request: urllib.request.Request, has_sum: bool) -> HTTPResponse:
    try:
        return open_address(request, timeout=TIMEOUT, has_sum=has_sum)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not request.has_header("Range"):
            raise
        # the part is longer than the file is now: let the whole file come
        error.close()
        request.remove_header("Range")
        request.remove_header("If-range")
        return _open(request, has_sum)


def _read(answer: HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK)
    except OSError as error:  # not to be taken for an error of the disk
        raise ConnectionError(one_line(error, 200)) from error


def _content_range(answer: HTTPResponse) -> tuple[int, int | None]:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    if match is None:
        raise ConnectionError("a part of the file came without saying which")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _check(file: Path, target: Path, *, sha256: str | None, size: int | None, url: str) -> None:
    """Compare a file with what is known of it; a part that is wrong is deleted, a target is left."""
    problem = ""
    if size is not None and _size(file) != size:
        problem = f"has {_size(file)} bytes, expected {size}"
    elif sha256 is not None:
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != sha256.lower():
            problem = f"has the checksum (sha256) {found}, expected {sha256}"
    if not problem:
        return
    if file == target:
        raise GeomclipError(f"{target} {problem}; delete it to have it fetched from {url}")
    file.unlink()
    _note(file).unlink(missing_ok=True)
    raise GeomclipError(f"what came from {url} {problem}; it was not kept, run again to fetch it anew")


def _unreachable(url: str, target: Path, reason: str) -> NotAvailableError:
    return NotAvailableError(
        f"{url} cannot be fetched ({reason}): run again when it can, or fetch it elsewhere and place it at {target}"
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _part(target: Path) -> Path:
    """Where the beginning of a file is collected."""
    return target.with_name(target.name + ".part")


def _note(part: Path) -> Path:
    """Where it is noted which version of which file `part` is the beginning of."""
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note(part).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}
