"""The commands that are tortured: what each finds, what is typed, what it must leave."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ARCHIVE = "toy.zip"


@dataclass(frozen=True)
class Command:
    """One command, run in a folder of its own whose `in` holds what it reads."""

    typed: str
    leaves: tuple[str, ...]  # what it makes; all else must be as before, or in the cache
    needs: tuple[str, ...] = ()  # commands that make what it reads
    served: bool = False  # whether a server has files for it


MODEL = "--model local-dir:in/tiny --data csv:in/data/pairs.csv --cache-dir cache"
QUICK = "--bootstrap 0 --seed 1"
TRAINED = "--method ft --steps 3 --save-every 1 --batch-size 4 --precision fp32 --metrics modality_gap --workers 0"
EXTRACTED = f"extract {MODEL} --shard-rows 2 --batch-size 2 --workers 0"
MEASURED = f"measure {QUICK} --metrics modality_gap,alignment"

COMMANDS = {
    "extract": Command(f"{EXTRACTED} --out store", ("store",)),
    "finetune": Command(f"finetune {MODEL} {TRAINED} {QUICK} --resume --out run", ("run",)),
    "measure": Command(
        f"{MEASURED} {MODEL} --batch-size 2 --workers 0 --out result.json", ("result.json", "result.items.parquet")
    ),
    "compare": Command(
        f"compare in/one.json in/two.json {QUICK} --cache-dir cache --out changes.json --out changes.md",
        ("changes.json", "changes.md"),
        (f"{MEASURED} --embeddings in/a.npz --out in/one.json", f"{MEASURED} --embeddings in/b.npz --out in/two.json"),
    ),
    "report": Command(
        f"report in/store {QUICK} --cache-dir cache --out page.html", ("page.html",), (f"{EXTRACTED} --out in/store",)
    ),
    "export": Command(
        "export in/run/model.safetensors --to openclip --cache-dir cache --out mine",
        ("mine",),
        (f"finetune {MODEL} {TRAINED} {QUICK} --out in/run",),
    ),
    "download": Command("data download toy --data-root sets --cache-dir cache", ("sets",), served=True),
    "project": Command(
        "project --method pca --embeddings in/a.npz --cache-dir cache --out map.csv", ("map.csv", "map.png")
    ),
}


def prepare(root: Path) -> None:
    """What all commands read: a toy set, a tiny model, two files of vectors."""
    from helpers import small_set
    from tiny_models import tiny_model
    from toy_pairs import toy_csv

    from geomclip.embeddings.store import save

    toy_csv(root / "in/data", splits={"train": 8, "val": 4, "test": 4})
    text = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    tiny_model(root / "in/tiny", text_cfg=text, embed_dim=8)
    for seed, name in enumerate(("a.npz", "b.npz")):
        save(small_set(12, 2, 8, seed=seed), root / "in" / name)


def call(typed: str, address: str | None = None) -> int:
    """Run what is typed, in this process; `address` is where a toy set can be fetched."""
    from geomclip.cli.app import main

    if address is not None:
        offer(address)
    return main(typed.split())


def archive() -> bytes:
    """A zip of the toy set: captions and a few files of noise, by content the same each time."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for i in range(4):
            noise = b"".join(hashlib.sha256(bytes([i, j])).digest() for j in range(200))
            file.writestr(zipfile.ZipInfo(f"photos/{i}.jpg"), noise)
        file.writestr(zipfile.ZipInfo("captions.json"), json.dumps({"images": []}))
    return content.getvalue()


def offer(address: str) -> None:
    """Have a set named toy, at this address, among those that can be fetched."""
    from geomclip.pairs import datasets, download

    content = archive()
    sha256 = hashlib.sha256(content).hexdigest()
    remote = datasets.Remote(
        f"{address}/{ARCHIVE}", provides="captions.json", size=len(content), sha256=sha256, members="*"
    )
    toy = datasets.Dataset(
        "toy",
        "noise",
        "25 kB",
        "CC0",
        (),
        datasets.DATASETS["coco"].read,
        looks_for=("captions.json",),
        remotes=(remote,),
    )
    datasets.DATASETS["toy"] = toy
    assert download.DATASETS is datasets.DATASETS


class Handler(BaseHTTPRequestHandler):
    """Serves the archive, or the end of it."""

    protocol_version = "HTTP/1.0"
    content = archive()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """All of it, or from where the Range begins."""
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("ETag", '"toy"')
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        try:
            self.wfile.write(self.content[begin:])
        except ConnectionError:
            return  # the client was killed


def serve(fork: Callable[[], int] = os.fork) -> tuple[int, str]:
    """Start a process that serves the archive; its number, to be killed at the end, and its address."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    process = fork()
    if process == 0:
        server.serve_forever()
    address = f"http://127.0.0.1:{server.server_port}"
    server.socket.close()
    return process, address
