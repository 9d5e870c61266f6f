"""Small data sets that tests write: images, tars, a COCO and a Karpathy folder."""

import io
import json
import tarfile
from pathlib import Path

from PIL import Image


def jpeg(colour: str = "red") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(data, "JPEG")
    return data.getvalue()


def write(root: Path, files: dict[str, str | bytes | dict | list]) -> Path:
    """Files by name under `root`; dicts and lists are written as JSON."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict | list):
            content = json.dumps(content)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def write_tar(file: Path, members: dict[str, bytes | str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file


COCO = {
    "annotations/captions_val2017.json": {
        "images": [{"id": 7, "file_name": "007.jpg"}, {"id": 3, "file_name": "003.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 3, "caption": " a cat \n"},
            {"id": 2, "image_id": 7, "caption": "a dog"},
            {"id": 3, "image_id": 3, "caption": "one cat"},
        ],
    },
    "val2017/007.jpg": jpeg(),
    "val2017/003.jpg": jpeg("blue"),
}
KARPATHY = {
    "dataset_flickr8k.json": {
        "dataset": "flickr8k",
        "images": [
            {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "a", "sentid": 0}]},
            {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "b ."}, {"raw": "bee"}]},
            {"filename": "c.jpg", "split": "val", "sentences": [{"raw": "c"}]},
        ],
    },
    "images/b.jpg": jpeg(),
}
