"""Videos as features: segments that show what a sentence says, as rows of the demo model's texts with noise."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geomclip.encoders import load_encoder
from geomclip.encoders.extraction.batches import Encoding

WORDS = ("dog", "cat", "car", "tree", "fish", "house", "sun", "boat", "apple", "clock", "shoe", "horse")


@cache
def text_rows() -> Tensor:
    """A unit row for each of the words."""
    with Encoding(load_encoder("demo"), batch=16) as encoding:
        return encoding.finished(encoding.texts(list(WORDS)), lambda *_: None).rows


def write_scenes(folder: Path, *, videos: int = 24, clips: int = 8, seed: int = 0, start: int = 0) -> tuple[Path, Path]:
    """Annotations (jsonl) and a folder of .npy: four segments a video, two of them annotated."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, generator = text_rows(), torch.Generator().manual_seed(seed)
    lines = []
    features = folder / "features"
    features.mkdir(exist_ok=True)
    for number in range(start, start + videos):
        cuts = [0, *sorted((torch.randperm(clips - 1, generator=generator)[:3] + 1).tolist()), clips]
        shown = torch.randperm(len(WORDS), generator=generator)[:4].tolist()
        made = torch.cat([rows[word].expand(cuts[i + 1] - cuts[i], -1) for i, word in enumerate(shown)])
        made = made + 0.03 * torch.randn(made.shape, generator=generator)
        np.save(features / f"v{number}.npy", torch.nn.functional.normalize(made, dim=1).numpy())
        for at in (0, 2):
            window = {"start": 2.0 * cuts[at], "end": 2.0 * cuts[at + 1]}
            lines.append({"video": f"v{number}", "text": WORDS[shown[at]], **window, "duration": 2.0 * clips})
    file = folder / "scenes.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file, features
