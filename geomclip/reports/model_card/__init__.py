"""The card of a model: README.md of a run, with front matter for the hub, pictures beside it, and the way there.

The parts: `run` reads a run folder back, `front` is what the hub reads, `text` what people read, `drawing` the
pictures, `public` what may be said of names that come from this machine or from others, `pushing` the upload.
"""

from geomclip.reports.model_card.writing import Card, card

__all__ = ["Card", "card"]
