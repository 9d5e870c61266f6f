"""A tiny deterministic encoder and tiny pictures, for tests of extraction."""

import hashlib
import io
import signal
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from geomclip.pairs.record import ImageFile, Pair, Pairs

SIDE, DIM, CONTEXT = 6, 16, 12


def tiny_preprocess(image):
    small = np.asarray(image.resize((SIDE, SIDE)), dtype=np.float32) / 255
    return torch.from_numpy(small).permute(2, 0, 1).contiguous()


class TinyEncoder:
    """Has what `geomclip.encoders.protocol.Encodes` asks for; no weights from anywhere."""

    dim, logit_scale, logit_bias = DIM, 20.0, None

    def __init__(self, *, name="tiny", seconds=0.0, spoil=None):
        generator = torch.Generator().manual_seed(7)
        self.name, self.seconds, self.spoil = name, seconds, spoil
        self.image_weights = torch.randn(3 * SIDE * SIDE, DIM, generator=generator)
        self.text_weights = torch.randn(CONTEXT, DIM, generator=generator)
        self.batch_shapes = set()

    def preprocess(self):
        return tiny_preprocess

    def tokenize(self, texts):
        tokens = torch.zeros(len(texts), CONTEXT, dtype=torch.int64)
        for row, text in zip(tokens, texts, strict=True):
            codes = [1 + ord(letter) % 97 for letter in text[:CONTEXT]]
            row[: len(codes)] = torch.tensor(codes, dtype=torch.int64)
        return tokens, torch.tensor([len(text) > CONTEXT for text in texts])

    def encode_image(self, pixels):
        time.sleep(self.seconds)
        self.batch_shapes.add(tuple(pixels.shape))
        rows = (pixels.flatten(1) @ self.image_weights).tanh() + 0.01
        return self.spoil(rows) if self.spoil else rows

    def encode_text(self, tokens):
        self.batch_shapes.add(tuple(tokens.shape))
        return (tokens.float() / 50 @ self.text_weights).tanh() + 0.01

    def made_from(self):
        sha256 = hashlib.sha256(self.name.encode()).hexdigest()
        return {
            "model": self.name,
            "pretrained": "random",
            "weights_sha256": sha256,
            "precision": "fp32",
            "notes": ["tiny"],
        }


def png(seed, side=9):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tiny_pairs(folder, n=20, *, bad=(), captions=2, shown=True, **fields):
    """n pictures with `captions` captions each, every seventh without; the images `bad` are text files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for i in range(n):
        file = folder / f"{i:03}.png"
        content = b"this is no picture" if i in bad else png(i)
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
        texts = () if i % 7 == 6 else tuple(f"picture {i}, caption {k}"[: 9 + 5 * k] for k in range(captions))
        columns = (("source", "even" if i % 2 == 0 else "odd"),)
        pairs.append(Pair(f"id{i}", ImageFile(file, file.name), texts, label=f"kind{i % 3}", columns=columns))
    return Pairs("tiny-set", "test", pairs, licence="CC0", language="en", **fields)


def tree(folder):
    """Every file of a store -> its bytes; the manifest without what tells the time and the place."""
    import json

    files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    del manifest["written"]
    return files | {"manifest.json": manifest}


def extract_in_a_process(images, out, seconds, message):
    """What test_extraction_kill starts; what an interrupted run says goes to the file `message`."""
    from geomclip.encoders.extraction.calls import extract

    # one thread each, as in the test's own process, so that sums are taken in one order
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test that is run in the background ignores Ctrl-C
    pairs = tiny_pairs(images, 60, bad=(3, 17))
    try:
        extract(TinyEncoder(seconds=seconds), pairs, out, batch_size=4, shard_rows=8, workers=2)
    except KeyboardInterrupt as stop:
        Path(message).write_text(str(stop))
        raise SystemExit(130) from None
