"""Image towers of timm of any size: open_clip passes a name on to timm, and no sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geomclip.encoders.configuration import TIMM_ARGUMENTS


def described(model_cfg: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration with its image tower of timm read from `folder`, which gets a config.json with its sizes.

    A folder is a name to timm, and its config.json may have any arguments of a tower.
    """
    vision_cfg = dict(model_cfg["vision_cfg"])
    arguments = dict(vision_cfg.pop(TIMM_ARGUMENTS, {}))
    if arguments:
        del arguments["norm_eps"]
        content = {"architecture": vision_cfg["timm_model_name"], "pretrained_cfg": {}, "model_args": arguments}
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
        vision_cfg["timm_model_name"] = f"local-dir:{folder}"
    return {**model_cfg, "vision_cfg": vision_cfg}


def finish(module: torch.nn.Module, model_cfg: Mapping[str, Any]) -> None:
    """Set what every layer norm of such a tower adds under its root: timm takes it in no form that JSON has."""
    arguments = model_cfg["vision_cfg"].get(TIMM_ARGUMENTS)
    if arguments:
        for layer in module.visual.trunk.modules():  # type: ignore[union-attr]
            if isinstance(layer, torch.nn.LayerNorm):
                layer.eps = arguments["norm_eps"]
