"""A server that stands for the hub where something is uploaded: it keeps what it is sent, and serves it again."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import huggingface_hub.utils
import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# reset_sessions before huggingface_hub 1
close_session = getattr(huggingface_hub.utils, "close_session", None) or huggingface_hub.utils.reset_sessions


class FakeHub(ThreadingHTTPServer):
    """Takes new repositories and commits; large files as the hub of before Xet does, by an address of their own."""

    daemon_threads = True

    def __init__(self, *, refuses: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refuses = refuses  # a status with which it answers whatever is asked
        self.made: list[dict[str, Any]] = []  # bodies of requests for repositories
        self.files: dict[str, bytes] = {}  # "ORG/NAME/PATH"
        self.large: dict[str, bytes] = {}  # by sha256
        self.tokens: set[str] = set()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: FakeHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization", ""))
        if self.server.refuses:
            self.answer({"error": "refused"}, self.server.refuses)
        elif self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            self.answer({"url": f"{self.server.address}/{_repository(json.loads(body))}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"warnings": [], "errors": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            known = [
                {"path": f["path"], "uploadMode": modes[f["path"].endswith(".safetensors")], "shouldIgnore": False}
                for f in files
            ]
            self.answer({"files": known})
        elif self.path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            self.answer({"transfer": "basic", "objects": [self._object(each) for each in wanted]})
        elif "/commit/" in self.path:
            self._commit(self.path.removeprefix("/api/models/").partition("/commit/")[0], body)
        else:
            self.answer({"error": "not here"}, 404)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.large[hashlib.sha256(content).hexdigest()] = content
        self.answer({})

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def _object(self, wanted: dict[str, Any]) -> dict[str, Any]:
        place = f"{self.server.address}/large/{wanted['oid']}"
        return {**wanted, "authenticated": True, "actions": {"upload": {"href": place, "header": {}}}}

    def _commit(self, repository: str, body: bytes) -> None:
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                self.server.files[f"{repository}/{value['path']}"] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                self.server.files[f"{repository}/{value['path']}"] = self.server.large[value["oid"]]
        url = f"{self.server.address}/{repository}/commit/{COMMIT}"
        self.answer({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    def _serve(self, *, body: bool) -> None:
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        content = self.server.files.get(f"{repository}/{rest.partition('/')[2]}")
        if content is None:
            self.answer({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        heads = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self.answer(content, 200, heads, body=body)

    def answer(self, what: Any, status: int = 200, heads: dict[str, str] | None = None, *, body: bool = True) -> None:
        """Send JSON, or bytes as they are."""
        content = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        for name, value in {**(heads or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def fake_hub(patch: pytest.MonkeyPatch, **options: Any) -> Iterator[FakeHub]:
    """A hub that huggingface_hub takes for its own until the block ends; somebody is logged in."""
    hub = FakeHub(**options)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    patch.setattr(constants, "ENDPOINT", hub.address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setenv("HF_TOKEN", "hf_of_nobody")
    patch.setenv("NO_PROXY", "127.0.0.1")
    close_session()
    try:
        yield hub
    finally:
        close_session()
        hub.shutdown()
        hub.server_close()


def _repository(body: dict[str, Any]) -> str:
    return f"{body['organization']}/{body['name']}" if body.get("organization") else str(body["name"])
