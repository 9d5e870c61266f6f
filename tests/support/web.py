"""A server on this machine that has a few files, and does to who asks what real ones do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Web:
    """What lies on the server, what it answers, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.signs = True  # whether it says ETags
        self.sizes = True  # whether it says how long a file is
        self.status: dict[str, int] = {}  # of these paths it answers so
        self.redirects: dict[str, str] = {}
        self.most: dict[str, int] = {}  # of these paths it sends so many bytes, and ends
        self.held: set[str] = set()  # of these paths it sends nothing until it is told
        self.go_on = threading.Event()
        self.asked: list[str] = []  # paths with their queries
        self.url = ""

    def put(self, folder: Path, under: str = "/") -> None:
        """Every file below a folder."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.files[under + file.relative_to(folder).as_posix()] = file.read_bytes()

    def paths(self) -> list[str]:
        """What was asked for since the last call, without queries."""
        found = [each.partition("?")[0] for each in self.asked]
        self.asked.clear()
        return found


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        web, path = self.web, self.path.partition("?")[0]
        web.asked.append(self.path)
        status = 302 if path in web.redirects else web.status.get(path, 200 if path in web.files else 404)
        if status >= 400:
            self.send_error(status)
            return
        content = web.files.get(path, b"")
        self.send_response(status)
        if path in web.redirects:
            self.send_header("Location", web.redirects[path])
        if web.signs:
            self.send_header("ETag", f'"{hash(content)}"')
        if web.sizes:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if path in web.held:
            web.go_on.wait(60)
        with contextlib.suppress(ConnectionError):  # who asked may have seen enough
            self.wfile.write(content[: web.most.get(path, len(content))])


@contextlib.contextmanager
def serving() -> Iterator[Web]:
    """A server that runs while the block does."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (_Handler,), {"web": web}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        web.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
