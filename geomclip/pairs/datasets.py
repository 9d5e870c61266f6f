"""The table of data sets: what each name means, what reads it, where it is found, where it is fetched."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import option
from geomclip.pairs import arrays, cifar, coco, emoji, flickr, folder, imagenet_folder, karpathy, table, wds
from geomclip.pairs.record import Pairs
from geomclip.pairs.source import Source, expanded
from geomclip.pairs.unpacked import lost, note_of


@dataclass(frozen=True)
class Remote:
    """One zip file at its official address, and what it puts into the folder of its set."""

    url: str
    provides: str  # a file or folder that is there once the zip is unpacked
    members: str = "*"  # which files of the zip are unpacked
    size: int | None = None
    sha256: str | None = None
    split: str | None = None  # fetched if this split is wanted; None: always

    @property
    def archive(self) -> str:
        """The name of the zip."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Dataset:
    """A name that `--data` takes; one that ends in ':' is followed by a file, folder or pattern."""

    name: str
    description: str
    size: str
    licence: str
    splits: tuple[str, ...]
    read: Callable[[Source, Path], Pairs]  # with the folder or file where the data lie
    follows: str = ""  # what comes after the ':' (FILE, DIR, PATTERN)
    looks_for: tuple[str, ...] = ()  # files in its folder, any of these
    photos: tuple[str, ...] = ()  # folders in its folder, any of these
    remotes: tuple[Remote, ...] = ()
    packages: tuple[str, ...] = ()  # of the extra `demo`, for a set that comes with them
    by_hand: str = ""  # where to get and place what has no address that can be fetched


_YOURS = "that of your data"
_IN_TABLE = "as in its column split, if any"
_COCO = "http://images.cocodataset.org"  # its https certificate is for another host; the checksums guard it
_KARPATHY_ZIP = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
_FLICKR_FORM = "its authors give the photos out after a form: fill in {form}, then put them into {{root}}/images"


def _karpathy(name: str, description: str, size: str, *, by_hand: str) -> Dataset:
    file, folders, licence = karpathy.LAYOUTS[name]
    photos = ("val2014", "images/val2014") if name == "coco-karpathy" else folders
    remote = Remote(_KARPATHY_ZIP, provides=file, members=file)
    splits = ("train", "restval", "val", "test") if name == "coco-karpathy" else ("train", "val", "test")
    return Dataset(
        name,
        description,
        size,
        licence,
        splits,
        flickr.read if name in flickr.CAPTIONS else karpathy.read,
        looks_for=flickr.files(name) if name in flickr.CAPTIONS else (file,),
        photos=photos,
        remotes=(remote,),
        by_hand=by_hand,
    )


def _table(kind: str, description: str) -> Dataset:
    return Dataset(f"{kind}:", description, "", _YOURS, (), table.read, follows="FILE")


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "emoji",
            "OpenMoji pictures with names, aliases, Unicode names and keywords (built in)",
            "3,000 pictures",
            "pictures CC BY-SA 4.0 (OpenMoji); keywords MIT (emojilib); names Unicode-3.0",
            emoji.EMOJI_SPLITS,
            emoji.read,
            packages=emoji.PACKAGES,
        ),
        Dataset(
            "coco",
            "COCO 2017 photos with five captions each",
            "val 5,000 photos, 0.8 GB; train 118,287 photos, 19 GB",
            coco.LICENCE,
            coco.SPLITS,
            coco.read,
            looks_for=tuple(coco.annotation_file(split, year) for year in coco.YEARS for split in ("val", "train")),
            photos=tuple(f"{split}{year}" for year in coco.YEARS for split in ("val", "train")),
            remotes=(
                Remote(
                    f"{_COCO}/annotations/annotations_trainval2017.zip",
                    provides=coco.annotation_file("val"),
                    members="annotations/captions_*2017.json",
                    size=252_907_541,
                    sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                ),
                Remote(
                    f"{_COCO}/zips/val2017.zip",
                    provides="val2017",
                    members="val2017/*.jpg",
                    size=815_585_330,
                    sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                    split="val",
                ),
                Remote(
                    f"{_COCO}/zips/train2017.zip",
                    provides="train2017",
                    members="train2017/*.jpg",
                    size=19_336_861_798,
                    sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
                    split="train",
                ),
            ),
        ),
        _karpathy(
            "coco-karpathy",
            "COCO 2014 photos in the splits of Karpathy and Fei-Fei (2015), which papers report",
            "val and test 5,000 photos each, 6 GB; train (with restval) 113,287 photos, 13 GB",
            by_hand=f"unzip {_COCO}/zips/val2014.zip and train2014.zip in {{root}} (val2014/, train2014/)",
        ),
        _karpathy(
            "flickr8k",
            "Flickr8k photos with five captions each, in Karpathy's file, its authors' or Kaggle's",
            "8,000 photos, 1 GB",
            by_hand=_FLICKR_FORM.format(form="https://forms.illinois.edu/sec/1713398"),
        ),
        _karpathy(
            "flickr30k",
            "Flickr30k photos with five captions each, in Karpathy's file, its authors', the hub's or Kaggle's",
            "31,014 photos, 4 GB",
            by_hand=_FLICKR_FORM.format(form="https://forms.illinois.edu/sec/229675"),
        ),
        _table("csv", f"a table of image paths and captions ({_IN_TABLE}); a folder or pattern of tables too"),
        _table("tsv", "the same, tab-separated"),
        _table("jsonl", "the same, one JSON object a line"),
        _table("json", "the same, one JSON array of objects"),
        _table("parquet", "the same, or with the images in it, or classes in place of captions; save_to_disk folders"),
        Dataset("folder:", "images, each with a .txt or .json of its name", "", _YOURS, (), folder.read, follows="DIR"),
        Dataset("wds:", "webdataset tars ({000..012}.tar, globs)", "", _YOURS, (), wds.read, follows="PATTERN"),
        Dataset(
            "imagenet-folder:",
            "classes: a folder of images each (classnames.txt and templates as CLIP_benchmark's)",
            "",
            _YOURS,
            (),
            imagenet_folder.read,
            follows="DIR",
        ),
        Dataset(
            "cifar-bin:",
            "classes: CIFAR-10 or CIFAR-100 in their binary version (.bin)",
            "",
            "research (Krizhevsky 2009)",
            ("train", "test"),
            cifar.read,
            follows="DIR",
        ),
        Dataset("npz:", "classes: arrays of images and labels of numpy", "", _YOURS, (), arrays.read, follows="FILE"),
    )
}


def folders_searched(dataset: Dataset, *, data_root: str | Path | None, cache_dir: Path | None) -> tuple[Path, ...]:
    """Where a set is looked for: `data_root` itself, its folder of the set's name; else the cache's data/."""
    if data_root is not None:
        root = expanded(data_root)
        return (root, root / dataset.name)
    from geomclip.machine import files

    return (files.cache_dir(cache_dir) / "data" / dataset.name,)


def find_folder(dataset: Dataset, *, data_root: str | Path | None, cache_dir: Path | None) -> Path | None:
    """The folder where the set is; None if it is in none of those searched."""
    for root in folders_searched(dataset, data_root=data_root, cache_dir=cache_dir):
        if any(os.path.isfile(root / file) for file in dataset.looks_for):
            return root
    return None


def folder_or_explain(
    dataset: Dataset, *, data_root: str | Path | None, cache_dir: Path | None, split: str | None = None
) -> Path:
    """The folder where the set is; NotAvailableError with the ways to get it, or what it has lost of a split."""
    found = find_folder(dataset, data_root=data_root, cache_dir=cache_dir)
    if found is not None:
        _refuse_lost(dataset, found, split or "val")
        return found
    searched = folders_searched(dataset, data_root=data_root, cache_dir=cache_dir)
    if data_root is not None and not os.path.isdir(searched[0]):
        raise InputError(f"{option('data_root')}: {searched[0]} is not a folder")
    wanted = {os.path.basename(file): file for file in reversed(dataset.looks_for)}  # the first of each name
    raise NotAvailableError(
        f"{dataset.name} is not at {' or '.join(map(str, searched))} "
        f"(looked for {' or '.join(reversed(wanted.values()))}): `geomclip data download {dataset.name}` fetches it, "
        f"{option('data_root')} says where it is"
    )


def _refuse_lost(dataset: Dataset, root: Path, split: str) -> None:
    """NotAvailableError if files that were unpacked here for a split are gone or cut short."""
    for remote in dataset.remotes:
        gone = lost(root, remote.archive) if remote.split in (None, split) else []
        if gone:
            raise NotAvailableError(
                f"{dataset.name} at {root} is not whole: of {remote.archive} {len(gone)} of the files are gone or have "
                f"other sizes (first: {gone[0]}): `geomclip data download {dataset.name}` fetches them; to go without, "
                f"delete {note_of(root, remote.archive)}"
            )
