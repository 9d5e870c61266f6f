"""Asked: what each task has for options of its own, with defaults and their lines in `--help`; light to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from geomclip.machine.errors import InputError, naming
from geomclip.machine.words import nearest, option
from geomclip.pairs.corrupted import CORRUPTIONS
from geomclip.training.methods import METHODS, method_named
from geomclip.training.settings import check_settings, setting

SHOTS = (1, 2, 4, 8, 16)
"""Images a class that few-shot classification may learn from."""
SOURCE = "in"
"""What the data themselves are called beside the sets of a shift."""
TRAIN = "Train what a task needs; left out, nothing is trained."
OF_TRAINING = ("train_methods", "train_steps", "train_lr", "train_draws")
"""Options of fine-tuning on shots."""


@dataclass(frozen=True)
class ZeroShot:
    """What classes are called and asked by, and where a temperature comes from."""

    classnames: str = setting(
        "", "Names of the classes: a line each, a JSON list, or JSON by set (FILE.json:SET).", metavar="FILE"
    )
    templates: str = setting(
        "", "Prompts, {c} or {} for the name: a line each, JSON as of names, or CuPL's by class.", metavar="FILE"
    )
    choose_templates: bool = setting(False, "Also the templates that are best on images not tested on.")
    val_split: str = setting("", "Of the data: images to choose templates and fit a temperature on.", metavar="NAME")
    val_share: float = setting(
        0.0, "In place of a split: that much of each class, which is not tested on.", within=(0, 0.9), metavar="X"
    )
    temperature_from: str = setting("", "A result of this task, whose fitted temperature is used.", metavar="FILE")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.val_split and self.val_share:
            both = f"{option('val_split')} and {option('val_share')}"
            raise InputError(f"{both} both say what is not tested on: give one")
        held = bool(self.val_split or self.val_share)
        if self.choose_templates and not held:
            raise InputError(
                f"{option('choose_templates')} needs images that are not tested on: name them with "
                f"{option('val_split')}, or give {option('val_share')}"
            )
        if self.temperature_from and held and not self.choose_templates:
            raise InputError(
                f"{option('temperature_from')} has a temperature already: leave out "
                f"{option('val_split' if self.val_split else 'val_share')}"
            )


@dataclass(frozen=True)
class FewShot:
    """What is learned from, and how often it is drawn."""

    shots: str = setting("1,2,4,8,16", "Images a class to learn from, with commas between.", metavar="N,N,...")
    draws: int = setting(10, "Times that they are drawn; all methods get the same.", within=(1, 1000))
    train_split: str = setting("train", "Of the data: where shots are drawn from.", metavar="NAME")
    train_embeddings: str = setting("", "Vectors that shots are drawn from, beside --embeddings.", metavar="PATH")
    holdout: float = setting(
        0.0, "In place of a split: that much of each class can be drawn; 0.5 of vectors.", within=(0, 0.99), metavar="X"
    )
    train: bool = setting(False, TRAIN)
    train_methods: str = setting("ft,m2mix", "Methods of finetune on the shots, with commas between.", metavar="NAMES")
    train_steps: int = setting(40, "Of each fine-tuning on shots, whatever their number.", within=(1, 10**6))
    train_lr: float | None = setting(
        None, "Of fine-tuning on shots; default that of finetune.", within=(0, 10), metavar="X"
    )
    train_draws: int = setting(3, "Of the draws, those that are fine-tuned on.", within=(1, 1000))

    def __post_init__(self) -> None:
        check_settings(self)
        self.counts()
        for each in fields(self):
            if not self.train and each.name in OF_TRAINING and getattr(self, each.name) != each.default:
                raise InputError(f"{option(each.name)} is of fine-tuning on shots: add {option('train', True)}")
        self.methods()
        if self.holdout and self.train_embeddings:
            both = f"{option('holdout')} and {option('train_embeddings')}"
            raise InputError(f"{both} both say what is drawn from: give one")

    def methods(self) -> tuple[str, ...]:
        """The methods that fine-tune on shots; InputError for one that is unknown or trains nothing."""
        names = tuple(dict.fromkeys(self.train_methods.replace(",", " ").split()))
        for name in names:
            with naming(option("train_methods")):
                if method_named(name).stage != "train":
                    trained = ", ".join(each.name for each in METHODS.values() if each.stage == "train")
                    raise InputError(f"{name} trains nothing: use {trained}")
        if not names:
            raise InputError(f"{option('train_methods', self.train_methods)}: name one, as ft")
        return names

    def counts(self) -> tuple[int, ...]:
        """The numbers of shots, rising; InputError for what is none of them."""
        words = self.shots.replace(",", " ").split()
        if not words or not all(word.isascii() and word.isdigit() and int(word) in SHOTS for word in words):
            known = ", ".join(map(str, SHOTS))
            raise InputError(f"{option('shots', self.shots)}: numbers out of {known} are meant, with commas between")
        return tuple(sorted({int(word) for word in words}))


@dataclass(frozen=True)
class Shift:
    """What the data are held against: sets of the same classes, corruptions of the same images."""

    family: Mapping[str, str] = setting(
        {}, "Another set of these classes, or vectors of it; again for more.", metavar="NAME=DATA"
    )
    family_split: Mapping[str, str] = setting(
        {}, "Of a set of --family: its split; left out, test, else val.", metavar="NAME=SPLIT"
    )
    corrupt: str = setting(
        "", f"Make the images worse: {', '.join(CORRUPTIONS)}, with commas between.", metavar="KINDS"
    )
    severities: str = setting("1,2,3,4,5", "Of each corruption, with commas between.", metavar="N,N,...")
    reference: str = setting(
        "",
        "Rows of other models (columns in, and a set each): accuracy beyond what they lead to expect.",
        metavar="FILE",
    )
    between: str = setting(
        "", "Also models between this one, the base, and --model: their weights mixed (WiSE-FT).", metavar="MODEL"
    )
    classnames: str = setting("", ZeroShot.__dataclass_fields__["classnames"].metadata["help"], metavar="FILE")
    templates: str = setting("", ZeroShot.__dataclass_fields__["templates"].metadata["help"], metavar="FILE")

    def __post_init__(self) -> None:
        check_settings(self)
        for name, meant in (("family", FAMILY), ("family_split", FAMILY_SPLIT)):
            words = getattr(self, name)
            if not isinstance(words, Mapping):
                object.__setattr__(self, name, _by_name(name, words, meant))
        for name in self.family_split:
            if name not in self.family:
                raise InputError(
                    f"{option('family_split')}: {option('family')} names no set {name!r}{nearest(name, self.family)}"
                )
        others = {SOURCE, *(f"{kind}-{level}" for kind, level in self.corruptions())}
        for name in self.family:
            if name in others:
                held = "the data themselves are" if name == SOURCE else "a corruption is"
                raise InputError(f"{option('family', name)}: {held} called that in the table: give it another name")

    def corruptions(self) -> list[tuple[str, int]]:
        """Each kind with each severity; InputError for one that is unknown."""
        kinds = self.corrupt.replace(",", " ").split()
        for kind in kinds:
            if kind not in CORRUPTIONS:
                raise InputError(f"{option('corrupt', kind)}: use {', '.join(CORRUPTIONS)}{nearest(kind, CORRUPTIONS)}")
        levels = self.severities.replace(",", " ").split()
        if not levels or any(level not in ("1", "2", "3", "4", "5") for level in levels):
            raise InputError(
                f"{option('severities', self.severities)}: numbers from 1 to 5 are meant, with commas between"
            )
        return [(kind, level) for kind in dict.fromkeys(kinds) for level in sorted({*map(int, levels)})]


@dataclass(frozen=True)
class Simat:
    """Which files, whose vectors, and how far along the difference of two words."""

    simat: str = setting("", "Folder with SIMAT's files (transfos.csv, ...).", metavar="FOLDER")
    simat_vectors: str = setting(
        "model", "Whose vectors: of the model, or the released ones in --simat.", one_of=("model", "folder")
    )
    simat_heads: str = setting(
        "", "Linear maps of images and texts before rows are made unit: npz, safetensors, pt.", metavar="FILE"
    )
    lam: float = setting(1.0, "Lambda: how far along the difference of two words.", within=(0, 100), metavar="X")
    domain: str = setting("dev", "Half of SIMAT's queries.", one_of=("dev", "test"))

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Captioning:
    """Whose captions, and how they are written."""

    captions: str = setting("", "JSON of image id to caption, of any model, in place of a CoCa's own.", metavar="FILE")
    beams: int = setting(4, "Beginnings of a caption that are followed; 1: greedy.", within=(1, 64))
    max_tokens: int = setting(30, "Of a caption, its end included.", within=(2, 10**4))

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class MissingModality:
    """Which views, and how models of them are trained."""

    train: bool = setting(False, TRAIN)
    views: str = setting("", "Three views, label and split; left out, they are generated.", metavar="FILE.npz")
    repeats: int = setting(3, "Models of each kind, each from another seed.", within=(1, 100))
    gmc_epochs: int = setting(40, "Passes over the samples that they learn from.", within=(1, 10**5))
    m2_weight: float = setting(0.1, "Of m2-mix between joint and single codes.", within=(0, 1000), metavar="X")

    def __post_init__(self) -> None:
        check_settings(self)


VECTORS = "vectors"
SPACES = (VECTORS, "pca", "heat-geodesic", "like-phate", "tsne", "umap")
"""What a time that was left out can be interpolated in: vectors as they are, and maps of them."""


@dataclass(frozen=True)
class Interpolation:
    """When each row was seen, and in which spaces what lies between is told."""

    time_column: str = setting("time", "Array or column of numbers: the time of each row.", metavar="NAME")
    tree: bool = setting(False, "A generated tree of cells with known times, in place of vectors.")
    spaces: str = setting(
        ",".join(SPACES), f"Where to interpolate: {', '.join(SPACES)}, with commas between.", metavar="NAMES"
    )
    folds: int = setting(5, "Disjoint parts of the rows of each time; intervals are over them.", within=(2, 100))

    def __post_init__(self) -> None:
        check_settings(self)
        self.names()

    def names(self) -> list[str]:
        """The spaces, in the order asked for; InputError for one that is unknown."""
        words = self.spaces.replace(",", " ").split()
        if not words:
            raise InputError(f"{option('spaces', self.spaces)}: use {', '.join(SPACES)}, with commas between")
        for word in words:
            if word not in SPACES:
                raise InputError(f"{option('spaces', word)}: use {', '.join(SPACES)}{nearest(word, SPACES)}")
        return list(dict.fromkeys(words))


FAMILY = "NAME=DATA is meant, as sketch=imagenet-folder:sketches"
FAMILY_SPLIT = "NAME=SPLIT is meant, as sketch=val"


def _by_name(of: str, words: Sequence[str], meant: str) -> dict[str, str]:
    """NAME=VALUE words of an option as a mapping; InputError for another form, or a name twice."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise InputError(f"{option(of, word)}: {meant}")
        if name.strip() in found:
            raise InputError(f"{option(of)}: two sets are called {name.strip()!r}")
        found[name.strip()] = value.strip()
    return found


ASKED: dict[str, type] = {
    "zeroshot": ZeroShot,
    "fewshot": FewShot,
    "shift": Shift,
    "simat": Simat,
    "captioning": Captioning,
    "missing-modality": MissingModality,
    "interpolation": Interpolation,
}
"""Name of each task and its options, in the order in which `evaluate --all` asks them."""

__all__ = ["ASKED", "Captioning", "FewShot", "Interpolation", "MissingModality", "Simat", "ZeroShot", "setting"]
