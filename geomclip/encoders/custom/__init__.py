"""Encoders of the caller's own: functions, objects, code that the command line names, SentenceTransformers."""

from geomclip.encoders.custom.functions import FunctionEncoder
from geomclip.encoders.custom.named import any_encoder, check, encoder_of, is_custom
from geomclip.encoders.custom.taken import taken

__all__ = ["FunctionEncoder", "any_encoder", "check", "encoder_of", "is_custom", "taken"]
