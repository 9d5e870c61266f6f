"""Flickr8k and Flickr30k as their authors, the hub and Kaggle give them: a table of captions beside the photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from geomclip.machine.errors import NotAvailableError
from geomclip.machine.tally import Tally
from geomclip.pairs import karpathy, table
from geomclip.pairs.parsing import ALL, captions_by_line, choose_split, read_text
from geomclip.pairs.record import Pair, Pairs
from geomclip.pairs.source import Source
from geomclip.pairs.walking import holds_images

RULES = (
    "dataset_NAME.json of Karpathy and Fei-Fei where it is there; else, read as a table, the captions of the authors "
    "(Flickr8k.token.txt, results_20130124.token), of the hub (flickr_annotations_30k.csv) or of Kaggle (captions.txt, "
    "results.csv), in the folder itself or in Flickr8k_text/, flickr30k/, flickr30k_images/.",
    "Flickr_8k.trainImages.txt, .devImages.txt and .testImages.txt beside the captions make the splits; images in none "
    "of them are left out and counted. Without them, or a column split, all images are read, and that is said.",
)

KARPATHY = "dataset_{name}.json"
CAPTIONS = {
    "flickr8k": ("Flickr8k.token.txt", "captions.txt"),
    "flickr30k": ("flickr_annotations_30k.csv", "results_20130124.token", "results.csv"),
}
"""The files of captions, in the order in which they are taken."""
FOLDERS = (".", "Flickr8k_text", "flickr30k", "flickr30k_images")
"""Where they are looked for."""
LISTS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}


def files(name: str) -> tuple[str, ...]:
    """The files by which a set is known, relative to its folder."""
    return (KARPATHY.format(name=name), *(str(Path(inner, file)) for file in CAPTIONS[name] for inner in FOLDERS))


def read(source: Source, root: Path) -> Pairs:
    """The images of a split, by whichever file of captions is there."""
    name = source.data
    if (root / KARPATHY.format(name=name)).is_file():
        return karpathy.read(source, root)
    file = next(root / each for each in files(name) if (root / each).is_file())
    _, folders, licence = karpathy.LAYOUTS[name]
    lists = {split: file.parent / each for split, each in LISTS.items() if (file.parent / each).is_file()}
    of_table = replace(
        source,
        data=f"{'csv' if file.suffix == '.csv' else 'tsv'}:{file}",
        image_root=_photos(name, folders, (root, file.parent)),
        split=None if lists else source.split,
    )
    found = replace(table.read(of_table, file), name=name, licence=licence, language="en")
    tally = Tally()
    tally.understood(f"the captions are those of {file.name}")
    for sentence in found.read.how:
        tally.understood(sentence)
    for each in found.read.left_out:
        tally.leave_out(each.what, each.reason, next(iter(each.names), ""), each.count)
    split, pairs = found.split, found.pairs
    if lists:
        split = choose_split(source.split, tuple(lists), name=f"{name} at {root}")
        pairs = _of_lists(pairs, lists, split, tally)
    elif split == ALL:
        tally.understood(f"{file.name} has no splits: these are all images, of which papers report a part")
    tally.use("images", len(pairs))
    tally.use("captions", sum(len(pair.captions) for pair in pairs))
    return replace(found, split=split, pairs=pairs, read=tally.read())


def _photos(name: str, folders: tuple[str, ...], places: tuple[Path, ...]) -> Path:
    """The folder of the photos: one of these names, the one of that name in it, or that of the captions."""
    tried = dict.fromkeys(path for place in places for folder in folders for path in _twice(place / folder))
    for path in (*tried, places[-1]):
        if path.is_dir() and holds_images(path):
            return path
    raise NotAvailableError(f"the photos of {name} are not at {places[0] / folders[0]}: place them there")


def _twice(folder: Path) -> Iterator[Path]:
    yield folder
    yield folder / folder.name  # zip files that were unpacked into a folder of their name


def _of_lists(pairs: Sequence[Pair], lists: dict[str, Path], split: str, tally: Tally) -> list[Pair]:
    """The images that the list of the split names, in its order."""
    names = {each: captions_by_line(read_text(file)) for each, file in lists.items()}
    known = {pair.image_id: pair for pair in pairs}
    listed = {name for own in names.values() for name in own}
    unlisted = [name for name in known if name not in listed]
    tally.leave_out("images", "in the list of no split", next(iter(unlisted), ""), len(unlisted))
    without = [name for name in names[split] if name not in known]
    tally.leave_out("images", f"without captions, named by {lists[split].name}", next(iter(without), ""), len(without))
    return [known[name] for name in dict.fromkeys(names[split]) if name in known]
