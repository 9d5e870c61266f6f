"""Files at addresses (https://, s3://, ...): fetched into the cache, once for each version of them, and read there.

https is geomclip's own; for all others fsspec has the drivers, which know who may read what. Nothing is written to an
address.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from urllib.request import Request

from geomclip.machine import limits
from geomclip.machine.addresses import check_address, open_address, plain
from geomclip.machine.drivers import driver_of
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.machine.files import atomic_json, atomic_write, cache_dir, make_folder
from geomclip.machine.lock import Lock
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.refusals import refusal
from geomclip.machine.sums import file_sha256
from geomclip.machine.words import harmless

FOLDER, NOTE = "remote", "source.json"
"""In the cache: a folder for each version of what lies at an address, and in it what says which."""
CHUNK = 1 << 20
TIMEOUT = 60.0  # seconds without a byte
_SUM = re.compile(r"(.*)#sha256=([0-9a-fA-F]{64})", re.DOTALL)
_ODD = re.compile(r"[^\w.()+= -]|^[. ]+", re.ASCII)


@dataclass(frozen=True)
class Address:
    """One address, taken apart: what is asked for, and the sha256 that it must have, as ADDRESS#sha256=SUM says."""

    url: str
    sha256: str | None = None

    @classmethod
    def of(cls, text: str) -> Address:
        """The address that a text is.

        Examples
        --------
        >>> Address.of("s3://bucket/a/rows.npz?versionId=1").name
        'rows.npz'
        """
        found = _SUM.fullmatch(text)
        url, sha256 = (text, None) if found is None else (found[1], found[2].lower())
        if "::" in url:
            raise InputError(f"{plain(text)}: addresses within addresses are not read: name the file itself")
        if any(character < " " for character in url) or (url[:4].lower() == "http" and " " in url):
            raise InputError(f"{harmless(plain(text))} is no address: write a space in it as %20")
        return cls(url, sha256)

    @property
    def scheme(self) -> str:
        """What stands before '://', in small letters."""
        return self.url.partition("://")[0].lower()

    @property
    def shown(self) -> str:
        """The address without what gives access, for messages."""
        return plain(self.url)

    @property
    def is_web(self) -> bool:
        """Whether it is read without a driver."""
        return self.scheme in ("http", "https")

    @property
    def name(self) -> str:
        """The last part of the path, as a name that a file can have."""
        last = self.shown.rstrip("/").rpartition("/")[2]
        return _ODD.sub("_", unquote(last) if self.is_web else last)[-120:] or "file"

    @property
    def key(self) -> str:
        """What it is known by in the cache: nothing can be read out of it."""
        return hashlib.sha256(self.url.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def below(self, name: str, sha256: str | None = None) -> Address:
        """The address of a file in the folder that this is the address of; a query, which may be a key, stays."""
        path, mark, query = self.url.partition("?")
        return Address(f"{path.rstrip('/')}/{quote(name) if self.is_web else name}{mark}{query}", sha256)


@dataclass(frozen=True)
class Found:
    """A file at an address that has been opened: its size and version, where they are said, and its bytes."""

    size: int | None
    version: str  # changes with the content; "" where nothing says so
    read: Callable[[int], bytes]


def fetched(
    address: str, limit: str = "remote-bytes", *, folder: str | Path | None = None, progress: Progress = SILENT
) -> Path:
    """The file at an address, in the cache: fetched if this version of it is not there yet.

    Of what has no version, an ETag or a time of change, the sum decides that the address was given, else it is fetched
    each time.

    Parameters
    ----------
    limit : str
        Of its bytes, by name (`machine.limits`).
    folder : path, optional
        The cache; left out: see `cache_dir`.

    Raises
    ------
    InputError
        If it is refused, too large, or not as its sum says.
    NotAvailableError
        If it is not there, may not be read, cannot be reached, or its driver is not installed.
    GeomclipError
        If the disk is full or fails.
    """
    at = Address.of(address)
    if at.sha256 is not None:
        file = _place(at, at.sha256, folder) / at.name
        if _is_there(file, None) and file_sha256(file) == at.sha256:
            return file
    with opened(at) as found:
        place = _place(at, at.sha256 or found.version, folder)
        file = place / at.name
        with Lock(place, wait=True):
            if not at.sha256 and found.version and _is_there(file, found.size):
                return file
            write(at, found, file, limit, progress=progress)
            note(place, at, files=1)
    return file


def read(at: Address, limit: str) -> bytes:
    """The bytes of a small file at an address; raises as `fetched`."""
    with opened(at) as found:
        return b"".join(_chunks(at, found, limit))


def write(
    at: Address, found: Found, file: Path, limit: str, *, progress: Progress = SILENT, before: int = 0, total: int = 0
) -> None:
    """Write what was opened to a file, which appears when it is complete and right; raises as `fetched`.

    Of several files `before` are the bytes that are there and `total` those of all, for the progress.
    """
    make_folder(file.parent)
    room = shutil.disk_usage(file.parent).free
    if found.size is not None and found.size > room:
        raise GeomclipError(f"{at.shown} has {found.size} bytes, and {file.parent} has room for {room}: make room")
    done, digest = 0, hashlib.sha256()
    whole = total or found.size
    with atomic_write(file) as target:
        for chunk in _chunks(at, found, limit):
            target.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress.stage("fetch (MB)", (before + done) // 10**6, whole and -(-whole // 10**6))
        if at.sha256 is not None and digest.hexdigest() != at.sha256:
            raise InputError(
                f"{at.shown} has the sha256 {digest.hexdigest()}, expected {at.sha256}: it was changed, or is of "
                "another version; it was not kept"
            )


def note(place: Path, at: Address, *, files: int) -> None:
    """Say in a folder of the cache what it holds."""
    atomic_json(place / NOTE, {"address": at.shown, "files": files})


@contextmanager
def opened(at: Address) -> Iterator[Found]:
    """What lies at an address, to be read while the block runs; raises as `fetched`."""
    with _of_the_web(at) if at.is_web else _of_a_driver(at) as found:
        yield found


@contextmanager
def _of_the_web(at: Address) -> Iterator[Found]:
    if at.url != plain(at.url) and "@" in at.url.partition("://")[2].partition("/")[0]:
        raise InputError(f"{at.shown}: a user or password in an address is not read: name a signed address")
    # not as compressed on the way: sizes and sums are of the file
    headers = {"User-Agent": "geomclip", "Accept-Encoding": "identity"}
    with _blamed(at):
        check_address(at.url, has_sum=at.sha256 is not None)
        request = Request(at.url, headers=headers)
        answer = open_address(request, timeout=TIMEOUT, has_sum=at.sha256 is not None)
    with answer:
        length = answer.headers.get("Content-Length", "")
        signs = [answer.headers.get(name, "") for name in ("ETag", "Last-Modified")]
        size = int(length) if length.isdecimal() else None
        yield Found(size, f"{size} {signs}" if any(signs) else "", answer.read)


@contextmanager
def _of_a_driver(at: Address) -> Iterator[Found]:
    system = driver_of(at.scheme, at.shown)
    with _blamed(at):
        driver, path = system(at.url)
        about: Mapping[str, Any] = driver.info(path)
        if about.get("type") == "directory":
            raise IsADirectoryError
        file = driver.open(path, "rb")
    try:
        size = about.get("size")
        yield Found(int(size) if size is not None else None, _version(about), file.read)
    finally:
        with suppress(Exception):  # it has been read
            file.close()


_SIGNS = ("etag", "versionid", "version_id", "generation", "md5hash", "content_md5")
_TIMES = (
    *("lastmodified", "last_modified", "last_write_time", "modificationtime", "mtime", "updated", "modified"),
    "created",
)


def _version(about: Mapping[str, Any]) -> str:
    """What changes with the content, of what a driver knows of a file; "" if it knows nothing but the size."""
    known = {name.lower(): value for name, value in about.items() if value not in (None, "")}
    signs = [f"{name}={known[name]}" for name in (*_SIGNS, *_TIMES) if name in known]
    return f"{about.get('size')} {signs}" if signs else ""


def _chunks(at: Address, found: Found, limit: str) -> Iterator[bytes]:
    """The bytes as they come, within the limit, as many as were said."""
    if found.size is not None:
        limits.check(limit, found.size, at.shown)
    done = 0
    while True:
        with _blamed(at):
            chunk = found.read(CHUNK)
        if not chunk:
            break
        done += len(chunk)
        limits.check(limit, done, at.shown)
        if found.size is not None and done > found.size:
            break
        yield chunk
    if found.size is not None and done != found.size:
        raise NotAvailableError(f"{at.shown} ended at {done} of {found.size} bytes: run the same command again")


@contextmanager
def _blamed(at: Address) -> Iterator[None]:
    """Explain in one line what a server or a driver raises; with no trace of it where that may hold a key."""
    try:
        yield
    except GeomclipError:
        raise
    except Exception as problem:
        raise refusal(at.shown, problem) from (problem if at.url == at.shown else None)


def _place(at: Address, version: str, folder: str | Path | None) -> Path:
    """The folder in the cache of one version of what lies at an address."""
    return cache_dir(folder) / FOLDER / f"{at.key}-{hashlib.sha256(version.encode()).hexdigest()[:16]}"


def place_of(address: str, version: str, folder: str | Path | None = None) -> Path:
    """The folder in the cache for what is known by a version of its own, as a store by its manifest."""
    return _place(replace(Address.of(address), sha256=None), version, folder)


def _is_there(file: Path, size: int | None) -> bool:
    return file.is_file() and not file.is_symlink() and size in (None, file.stat().st_size)
