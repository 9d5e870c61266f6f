"""A local server that stands for the model hub: the real download code asks it."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download, utils

# reset_sessions before huggingface_hub 1
close_session = getattr(utils, "close_session", None) or utils.reset_sessions

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves /ORGANISATION/NAME/resolve/REVISION/FILE of a folder as the hub does."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.seen: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        repo, _, rest = self.path.lstrip("/").partition("/resolve/")
        name = rest.partition("/")[2]
        self.server.seen[f"{self.command} {repo}/{name}"] += 1
        if repo == "org/drops":  # accepts, then hangs up without a word
            self.connection.close()
            return
        file = self.server.folder / repo / name
        if repo == "org/breaks":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not file.is_file():
            self.send_response(404)
            known = (self.server.folder / repo).is_dir()
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = file.read_bytes()
        first = 0
        if "Range" in self.headers:
            first = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        if not body:
            return
        # the connection is lost in the middle, once
        half = repo == "org/half" and self.server.seen[f"GET {repo}/open_clip_model.safetensors"] == 1
        self.wfile.write(content[first : len(content) // 2 if half else len(content)])
        if half:
            self.wfile.flush()
            self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[Hub]:
    """The server of a folder, as long as the block runs."""
    hub = Hub(folder)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


def connect(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Have the hub's client ask this address until the test ends; it reads its environment at import only."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    for module in (constants, file_download):  # which has a copy of its own before huggingface_hub 0.26
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()  # which kept the proxies of the environment
