"""The version of geomclip, in one place."""

__version__ = "0.1.0"
