"""From a name to something that encodes: `load_encoder`; `list_models` says what can be named."""

from geomclip.encoders.clip import Encoder, Preprocess
from geomclip.encoders.listing import ModelInfo, list_models
from geomclip.encoders.load import load_encoder
from geomclip.encoders.outside import base_repository, how_to_load, open_clip_name
from geomclip.encoders.saved import metadata, save_checkpoint, with_weights

__all__ = [
    "Encoder",
    "ModelInfo",
    "Preprocess",
    "base_repository",
    "how_to_load",
    "list_models",
    "load_encoder",
    "metadata",
    "open_clip_name",
    "save_checkpoint",
    "with_weights",
]
