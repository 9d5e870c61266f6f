"""What it costs to take a folder of transformers as a model of open_clip, beside reading its tensors.

    python benchmarks/conversion.py [--layers 24] [--width 1024] [--turns 5] [--folder DIR] [--out FILE.json]

A CLIPModel with random weights, by default of the sizes of ViT-L/14, is saved once. Reading its tensors with
safetensors, each copied into memory, and filling the towers with them, renamed and joined, take turns: the goal is a
ratio of at most 1.5. The most memory that building and filling hold, in a process of its own, is at most 1.2 of the
model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from alone import alone, measured
from goal import Goal, report

MOST_OF_READING, MOST_OF_MODEL = 1.5, 1.2


def write(folder: Path, width: int, layers: int) -> None:
    """The folder of a model with the proportions of ViT-L/14."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "patch_size": 14}
    text = {"hidden_size": 3 * width // 4, "intermediate_size": 3 * width, "num_hidden_layers": max(1, layers // 2)}
    vision["num_attention_heads"], text["num_attention_heads"] = width // 64, 3 * width // 256
    torch.manual_seed(0)
    settings = CLIPConfig(vision_config=vision, text_config=text, projection_dim=3 * width // 4)
    CLIPModel(settings).save_pretrained(folder)


def read(file: Path) -> None:
    """Every tensor of a file, copied into memory."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118
            opened.get_tensor(name).clone()


def one(folder: Path, turns: int) -> None:
    """Seconds of both, and the peak of building and filling; a line of JSON."""
    from geomclip.encoders import names, towers
    from geomclip.encoders.recipes import recipe_of

    recipe = recipe_of(names.resolve(str(folder)), None)
    assert recipe.contents is not None
    contents = recipe.contents

    def convert() -> object:
        module = towers.build(recipe.model_cfg, recipe.preprocess_cfg, seed=0, where=str(folder))
        towers.load_into(module, contents)
        return module

    towers.outline(recipe.model_cfg, where=str(folder))  # imports are no part of it
    module, held = measured(convert)
    size = sum(value.numel() * value.element_size() for value in module.state_dict().values())  # type: ignore[attr-defined]
    seconds: dict[str, list[float]] = {"read": [], "fill": []}
    ways: dict[str, Callable[[], None]] = {
        "read": lambda: read(folder / "model.safetensors"),
        "fill": lambda: towers.load_into(module, contents),  # type: ignore[arg-type]
    }
    for _ in range(turns):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    found = {name: statistics.median(values) for name, values in seconds.items()}
    print(json.dumps(found | {"model_gb": size / 2**30, "peak_gb": held["peak_gb"]}))


def main() -> None:
    """Both ratios, and whether they meet their goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as fresh:
        folder = options.folder or Path(fresh) / "model"
        if not folder.exists():
            write(folder, options.width, options.layers)
        found = alone(__file__, "--one", folder, options.turns)
    why = f"{found['model_gb']:.2f} GB, vision of {options.layers} layers and width {options.width}"
    goals = [
        Goal("converting, beside reading", found["fill"] / found["read"], MOST_OF_READING, why=why),
        Goal("peak memory, beside the model", found["peak_gb"] / found["model_gb"], MOST_OF_MODEL, why=why),
    ]
    rows = [{"part": name, "seconds": found[name]} for name in ("read", "fill")]
    report("A folder of transformers as a model of open_clip", goals, rows, options.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
