"""How a model of transformers wants its images, as the preprocessing of open_clip that does the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.encoders import foreign_code
from geomclip.encoders.hf.config import Description
from geomclip.machine.errors import InputError
from geomclip.machine.json_files import is_number

FILES = ("preprocessor_config.json", "processor_config.json")
"""Where transformers keeps it: before 5.0 in the first alone, since then inside the second."""
OPENAI_MEAN, OPENAI_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""PIL's numbers of the ways to resize that open_clip has too."""
_HALF = [0.5, 0.5, 0.5]
_USUAL: dict[str, dict[str, Any]] = {
    "clip": {"resample": 3, "image_mean": OPENAI_MEAN, "image_std": OPENAI_STD, "do_center_crop": True}
    | {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}},
    "siglip": {"resample": 3, "image_mean": _HALF, "image_std": _HALF, "size": {"height": 224, "width": 224}},
    "siglip2": {"resample": 2, "image_mean": _HALF, "image_std": _HALF},
}


def read(folder: Path, model: Description) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The preprocessing of the model in a folder, and notes on what had to be assumed.

    Raises
    ------
    InputError
        If a file cannot be read, or says a step that open_clip has not; the message names it.
    """
    usual = _USUAL[model.kind]
    for name in FILES:
        file = folder / name
        if file.is_file():
            content = foreign_code.read(file)
            found = content.get("image_processor", content if name == FILES[0] else None)
            if isinstance(found, dict):
                return _settings({**usual, **found}, model, file), ()
    plain = _settings({**usual, **_sized(usual, model.image_size)}, model, folder)
    return plain, (f"{folder.name} has no {FILES[0]}: the mean, std and resizing of the first such models are assumed",)


def _sized(usual: Mapping[str, Any], side: int) -> dict[str, Any]:
    square = {"height": side, "width": side}
    if "crop_size" in usual:
        return {"size": {"shortest_edge": side}, "crop_size": square}
    return {"size": square} if "size" in usual else {}


def _settings(found: Mapping[str, Any], model: Description, file: Path) -> dict[str, Any]:
    side = model.image_size
    crop = bool(found.get("do_center_crop", False))
    _check_steps(found, file)
    if model.kind != "siglip2":  # that one has no size: its images are cut in patches
        _check_size(_edge(found["size"]), side, f"{file}: resizes images to", crop=crop)
    if crop:
        _check_size(_edge(found["crop_size"]), side, f"{file}: cuts images to", crop=False)
    resample = found["resample"]
    if not isinstance(resample, int) or resample not in RESAMPLE:
        raise InputError(f"{file}: resizes with PIL's filter {resample!r:.20}: open_clip has {_listed(RESAMPLE)}")
    normal = found.get("do_normalize", True)
    return {
        "size": [side, side],
        "mode": "RGB",
        "mean": _three(found["image_mean"], "image_mean", file) if normal else [0.0] * 3,
        "std": _three(found["image_std"], "image_std", file) if normal else [1.0] * 3,
        "interpolation": RESAMPLE[resample],
        "resize_mode": "shortest" if crop else "squash",
        "fill_color": 0,
    }


def _check_steps(found: Mapping[str, Any], file: Path) -> None:
    lacking = {
        "do_resize": found.get("do_resize", True) is not True,
        "do_rescale": found.get("do_rescale", True) is not True,
        "rescale_factor": not _is_near(found.get("rescale_factor", 1 / 255), 1 / 255),
        "do_pad": bool(found.get("do_pad", False)),
    }
    for key, absent in lacking.items():
        if absent:
            raise InputError(f"{file}: has {key} {found[key]!r:.20}, which the preprocessing of open_clip cannot do")


def _edge(size: Any) -> tuple[str, Any]:
    """The kind of a size, "short" side or "both", and its pixels; files of before 4.25 hold a number alone."""
    if isinstance(size, dict) and "shortest_edge" in size:
        return "short", size["shortest_edge"]
    if isinstance(size, dict) and size.get("height") == size.get("width"):
        return "both", size.get("height")
    return ("short or both", size) if isinstance(size, int) else ("", size)


def _check_size(found: tuple[str, Any], side: int, what: str, *, crop: bool) -> None:
    kind, pixels = found
    if (crop and "short" not in kind) or (not crop and "both" not in kind):
        raise InputError(
            f"{what} {pixels!r:.60} ({kind or 'no square'}), which the preprocessing of open_clip cannot do"
        )
    if pixels != side:
        raise InputError(f"{what} {pixels!r:.60} pixels, and its model takes {side}: make the two equal in that file")


def _is_near(value: Any, expected: float) -> bool:
    return is_number(value) and math.isclose(value, expected, rel_tol=1e-6)


def _three(value: Any, key: str, file: Path) -> list[float]:
    if not isinstance(value, list) or len(value) != 3 or not all(map(is_number, value)):
        raise InputError(f"{file}: has no sound {key!r}: {value!r:.60}")
    return [float(v) for v in value]


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(f"{number} ({name})" for number, name in names.items())
