"""From a name to something that encodes: `load_encoder`; `list_models` says what can be named."""

from geomclip.encoders.clip import Encoder, Preprocess
from geomclip.encoders.listing import ModelInfo, list_models
from geomclip.encoders.load import load_encoder, metadata

__all__ = ["Encoder", "ModelInfo", "Preprocess", "list_models", "load_encoder", "metadata"]
