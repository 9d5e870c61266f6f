"""Files at addresses: fetched once for each version, whole or not at all; what is refused, and what is never said."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import Any
from urllib.error import URLError

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from recorder import Recorder
from web import Web, serving

from geomclip.machine import addresses, remote
from geomclip.machine.addresses import plain, plain_in
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.machine.refusals import refusal
from geomclip.machine.remote import Address, fetched

CONTENT = bytes(range(256)) * 9000
SUM = hashlib.sha256(CONTENT).hexdigest()
SECRET = "c0ffee-secret"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as found:
        found.files["/a.bin"] = CONTENT
        yield found


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def refused(address: str, folder: Path, kind: type[Exception] = InputError) -> str:
    """The one line of a refusal, after which nothing lies in the cache, and with no key in any part of it."""
    with pytest.raises(kind) as caught:
        fetched(address, folder=folder)
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert not [file for file in folder.rglob("*") if file.is_file()]
    return message


# ---- once for each version


def test_a_file_is_fetched_once_and_again_when_it_has_changed(web: Web, tmp_path: Path) -> None:
    address = f"{web.url}/a.bin"
    first = fetched(address, folder=tmp_path)
    assert first.read_bytes() == CONTENT
    assert first.name == "a.bin"
    written = first.stat().st_mtime_ns
    assert fetched(address, folder=tmp_path) == first
    assert first.stat().st_mtime_ns == written
    web.files["/a.bin"] = CONTENT[::-1]
    assert fetched(address, folder=tmp_path).read_bytes() == CONTENT[::-1]
    assert first.read_bytes() == CONTENT  # who reads it may go on


def test_a_file_of_a_driver_is_fetched_once_and_again_when_it_has_changed(
    memory: MemoryFileSystem, tmp_path: Path
) -> None:
    memory.pipe_file("/b/a.bin", CONTENT)
    first = fetched("memory://b/a.bin", folder=tmp_path)
    first.write_bytes(CONTENT[::-1])  # of the same size, to be told from what is fetched
    assert fetched("memory://b/a.bin", folder=tmp_path).read_bytes() == CONTENT[::-1]
    memory.pipe_file("/b/a.bin", CONTENT)
    assert fetched("memory://b/a.bin", folder=tmp_path).read_bytes() == CONTENT


def test_what_has_no_sign_of_its_version_is_fetched_each_time(web: Web, tmp_path: Path) -> None:
    web.signs = False
    for content in (CONTENT, CONTENT[::-1]):
        web.files["/a.bin"] = content
        assert fetched(f"{web.url}/a.bin", folder=tmp_path).read_bytes() == content


def test_what_has_its_sum_behind_it_is_not_asked_for_twice(web: Web, tmp_path: Path) -> None:
    address = f"{web.url}/a.bin#sha256={SUM.upper()}"
    file = fetched(address, folder=tmp_path)
    assert fetched(address, folder=tmp_path) == file
    assert web.paths() == ["/a.bin"]
    file.write_bytes(CONTENT[::-1])  # damaged in the cache
    assert fetched(address, folder=tmp_path).read_bytes() == CONTENT


def test_what_has_another_sum_is_not_kept(web: Web, tmp_path: Path) -> None:
    assert f"expected {'0' * 64}" in refused(f"{web.url}/a.bin#sha256={'0' * 64}", tmp_path)


def test_progress_is_told_how_much_has_come(web: Web, tmp_path: Path) -> None:
    recorder = Recorder()
    fetched(f"{web.url}/a.bin", folder=tmp_path, progress=recorder)
    assert recorder.stages[-1] == ("fetch (MB)", 2, 3, "")


# ---- whole or not at all, and within bounds


@pytest.mark.parametrize("signs", [True, False])
def test_what_is_cut_short_is_not_kept(web: Web, tmp_path: Path, signs: bool) -> None:
    web.most["/a.bin"], web.signs = 1000, signs
    message = refused(f"{web.url}/a.bin", tmp_path, NotAvailableError)
    assert f"ended at 1000 of {len(CONTENT)} bytes: run the same command again" in message


def test_what_is_too_large_is_refused_before_a_byte_of_it(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOMCLIP_LIMITS", "remote-bytes=1000")
    message = refused(f"{web.url}/a.bin?sig={SECRET}", tmp_path)
    assert message.startswith(f"{web.url}/a.bin: {len(CONTENT)} bytes of a file or store")
    assert f"set GEOMCLIP_LIMITS=remote-bytes={len(CONTENT)}" in message


def test_what_does_not_say_its_size_is_stopped_at_the_limit(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.sizes = False
    monkeypatch.setenv("GEOMCLIP_LIMITS", "remote-bytes=1000")
    assert "more than 1000: refused" in refused(f"{web.url}/a.bin", tmp_path)


def test_what_does_not_fit_the_disk_is_refused_before_a_byte_of_it(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5}))
    assert "has room for 5: make room" in refused(f"{web.url}/a.bin", tmp_path, GeomclipError)


# ---- refused in one line, without what gives access


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "may not be read (401 Unauthorized): name an address that is signed"),
        (403, "may not be read (403 Forbidden): name an address that is signed"),
        (404, "is not there (404 Not Found): see that the address is right"),
        (503, "cannot be reached (503 Service Unavailable): run the same command again"),
    ],
)
def test_what_a_server_refuses_is_one_line_with_the_way_out(
    web: Web, tmp_path: Path, status: int, expected: str
) -> None:
    web.status["/a.bin"] = status
    message = refused(f"{web.url}/a.bin?X-Amz-Signature={SECRET}", tmp_path, NotAvailableError)
    assert message.startswith(f"{web.url}/a.bin {expected}")


def test_a_server_that_is_away_is_one_line(web: Web, tmp_path: Path) -> None:
    port = web.url.rpartition(":")[2]
    with serving() as other:
        away = other.url
    assert port not in away
    message = refused(f"{away}/a.bin?sig={SECRET}", tmp_path, NotAvailableError)
    assert message == f"{away}/a.bin cannot be reached (Connection refused): run the same command again when it can"


def test_a_certificate_that_is_not_trusted_is_said() -> None:
    problem = URLError(SSLCertVerificationError(1, "self-signed certificate"))
    assert "this machine does not trust its certificate; SSL_CERT_FILE names" in str(
        refusal("https://h/a.npz", problem)
    )


def test_what_leads_on_to_http_is_refused(web: Web, tmp_path: Path) -> None:
    web.redirects["/a.bin"] = f"http://example.org/a.bin?sig={SECRET}"
    message = refused(f"{web.url}/a.bin?sig={SECRET}", tmp_path)
    assert message.startswith("http://example.org/a.bin: by http anybody on the way can send another file")


def test_http_is_read_where_the_sum_is_known(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_is_this_machine", lambda host: False)
    assert "by http anybody" in refused(f"{web.url}/a.bin?sig={SECRET}", tmp_path)
    assert fetched(f"{web.url}/a.bin#sha256={SUM}", folder=tmp_path).read_bytes() == CONTENT


class Guarded(MemoryFileSystem):  # type: ignore[misc]
    """A driver that fails as drivers do, by the name of the file."""

    protocol = "guarded"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        class NoCredentialsError(Exception):
            pass

        if "odd" in path:
            return {"size": 10, "type": "file", "etag": "1"}
        raise {
            "rights": PermissionError(f"Forbidden: https://host/x?sig={SECRET}"),
            "keys": NoCredentialsError("Unable to locate credentials"),
            "away": OSError(f"Could not connect to the endpoint URL: 'https://host/x?sig={SECRET}'\nat all"),
        }[path.rpartition("/")[2]]

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        class Failing:
            def read(self, size: int) -> bytes:
                raise OSError(None, f"reset by https://me:{SECRET}@host/x")

            def close(self) -> None:
                pass

        return Failing()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rights", "may not be read (Forbidden: https://host/x): give this user the rights"),
        ("keys", "may not be read (Unable to locate credentials): give this user the rights"),
        ("away", "cannot be reached (Could not connect to the endpoint URL: 'https://host/x at all): run the same"),
        ("odd", "cannot be reached (reset by https://host/x): run the same"),
    ],
)
def test_what_a_driver_raises_is_one_line_with_the_way_out(tmp_path: Path, name: str, expected: str) -> None:
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    message = refused(f"guarded://me:{SECRET}@bucket/{name}", tmp_path, NotAvailableError)
    assert message.startswith(f"guarded://bucket/{name} {expected}")


def test_a_folder_is_no_file(memory: MemoryFileSystem, tmp_path: Path) -> None:
    memory.pipe_file("/b/c/a.bin", CONTENT)
    assert refused("memory://b/c", tmp_path) == "memory://b/c is a folder: name a file in it"
    assert "is not there" in refused("memory://b/other", tmp_path)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("file:///etc/a.npz", "name the path, without what stands before it"),
        ("zip://a.npz::https://example.org/a.zip", "addresses within addresses are not read"),
        ("simplecache://a.npz", "it leads to other files"),
        ("reference://a.npz", "it leads to other files"),
        ("data://a.npz", "it leads to other files"),
        ("ftp://example.org/a.npz", "nothing guards what comes that way: name an https address"),
        ("memmory://a.npz", "nothing reads memmory://; did you mean memory?"),
        ("https://example.org/my rows.npz", "write a space in it as %20"),
        (f"https://me:{SECRET}@example.org/a.npz", "a user or password in an address is not read"),
        ("https://[/a.npz", "Invalid IPv6 URL"),
    ],
)
def test_what_is_no_address_of_a_file_is_refused(tmp_path: Path, address: str, expected: str) -> None:
    assert expected in refused(address, tmp_path)


@pytest.mark.parametrize(("scheme", "way"), [("s3", "'geomclip[remote]'"), ("gs", "gcsfs"), ("abfs", "adlfs")])
def test_a_driver_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, way: str
) -> None:
    registry = sys.modules["fsspec.registry"]  # fsspec.registry is its table
    monkeypatch.setitem(registry.known_implementations, scheme, {"class": "not_there.Nothing", "err": "Install it"})
    monkeypatch.delitem(registry._registry, scheme, raising=False)
    message = refused(f"{scheme}://bucket/a.npz?sig={SECRET}", tmp_path, NotAvailableError)
    assert message.startswith(f"{scheme}://bucket/a.npz: {scheme}:// needs ")
    assert message.endswith(f": pip install {way}")


def test_without_fsspec_https_is_read_and_others_name_the_extra(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert "s3:// needs fsspec: pip install 'geomclip[remote]'" in refused("s3://b/a.npz", tmp_path, NotAvailableError)
    assert fetched(f"{web.url}/a.bin", folder=tmp_path).read_bytes() == CONTENT


# ---- names


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://example.org/a%2Fb/%2e%2e%2fetc%2fpasswd?x=1", "__etc_passwd"),
        ("s3://bucket/..", "_"),
        ("s3://bucket/.geomclip.lock", "_geomclip.lock"),
        ("s3://bucket/a/store/", "store"),
        ("https://example.org/", "example.org"),
        ("s3://bucket/a b\x7fä.npz", "a b__.npz"),
        (f"s3://bucket/{'x' * 300}.npz", "x" * 116 + ".npz"),
    ],
)
def test_the_name_in_the_cache_is_one_that_stays_in_its_folder(address: str, name: str) -> None:
    assert Address.of(address).name == name


def test_a_file_below_an_address_keeps_the_query_and_quotes_its_name() -> None:
    assert Address.of("https://h/store/?sas=1").below("a b/c.npy").url == "https://h/store/a%20b/c.npy?sas=1"
    assert Address.of("s3://b/store").below("a b/c.npy").url == "s3://b/store/a b/c.npy"


@pytest.mark.parametrize(
    "name",
    [
        f"https://me:{SECRET}@h/a.npz?sig={SECRET}#{SECRET}",
        f"image=https://h/a.npy?sig={SECRET},b={SECRET},text=s3://{SECRET}@b/c.npy?x={SECRET}",
        f"csv:https://h/a.csv?sig={SECRET}",
        f"s3://b/my folder/a.npz?sig={SECRET} {SECRET}",
    ],
)
def test_nothing_that_gives_access_is_in_what_is_shown(name: str) -> None:
    from geomclip.machine.places import keep_paths, shown, shown_command

    assert SECRET not in plain(name) + shown(name) + shown_command(["geomclip", f"--embeddings={name}", name])
    with keep_paths():
        assert SECRET not in shown(name) + shown_command(["geomclip", f"--embeddings={name}", name])


def test_a_sentence_is_left_as_it_is_but_for_the_keys_in_it() -> None:
    assert plain_in("why? see https://a.org/b?c=1 and d?") == "why? see https://a.org/b and d?"
    assert plain(f"s3://b/a.npz#sha256={SUM}") == f"s3://b/a.npz#sha256={SUM}"
    assert plain("a?b#c") == "a?b#c"


def test_nothing_in_the_cache_holds_the_key(web: Web, tmp_path: Path) -> None:
    fetched(f"{web.url}/a.bin?sig={SECRET}", folder=tmp_path)
    everything = [(str(file), file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()]
    assert len(everything) == 2
    assert not any(SECRET in name or SECRET.encode() in content for name, content in everything)
    assert remote.NOTE in {Path(name).name for name, _ in everything}
