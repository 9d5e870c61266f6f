"""A folder of images, each with a text file of the same name (one caption a line); subfolders are labels."""

from __future__ import annotations

from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.pairs.parsing import (
    captions_by_line,
    check_folder,
    choose_split,
    clean,
    counted,
    images_under,
    numbered,
    read_text,
)
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.pairs.source import Source


def read(source: Source, folder: Path) -> Pairs:
    """The images under the folder in the order of their paths; an image without text stays a candidate."""
    check_folder(source, folder)
    split = choose_split(source.split, (), name=f"folder:{folder}")
    pairs = []
    for path in images_under(folder):
        text = path.with_suffix(".txt")
        captions = captions_by_line(read_text(text)) if text.is_file() else ()
        inner = path.relative_to(folder)
        name = clean(inner.as_posix())
        label = "" if len(inner.parts) == 1 else clean(inner.parent.as_posix())
        pairs.append(Pair(name, ImageFile(path, shown=name), captions, numbered(name, captions), label=label))
    if not pairs:
        raise InputError(f"folder:{folder} holds no image (jpg, png, webp, gif, bmp, tiff, ppm)")
    silent = sum(not pair.captions for pair in pairs)
    if silent == len(pairs):
        raise InputError(
            f"folder:{folder} has {silent} images but no caption: "
            "each needs a text file of its name (photo.jpg, photo.txt)"
        )
    notes = counted((silent, "{n} images have no text file, or an empty one, and no caption"))
    return Pairs(source.title, split, pairs, notes=notes)
