"""cite: BibTeX entries of what numbers, maps, methods, losses and data sets come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from geomclip.machine.words import near
from geomclip.metrics import FIXED_SIZE

FILE = Path(__file__).with_name("sources.bib")
OWN = "geomclip"
"""The entry of this software: of what is counted or averaged here, and of every result."""

_WANG, _OH, _LIANG, _FAHIM = "wang2020understanding", "oh2023geodesic", "liang2022mind", "fahim2024gap"
_RADFORD, _GUO, _LI = "radford2021learning", "guo2017calibration", "li2023g2l"
_SHAPLEY = (_LI, "grabisch1999axiomatic")
_COCO, _KARPATHY = ("lin2014microsoft", "chen2015microsoft"), "karpathy2015deep"

SOURCES: dict[str, tuple[str, ...]] = {
    # numbers, functions of metrics, and losses of the same name; both directions, both modalities
    "alignment": (_WANG,),
    "relative_alignment_text_to_image": (_OH,),
    "relative_alignment_image_to_text": (_OH,),
    "uniformity": (_WANG,),
    "uniformity_joint": (_WANG,),
    "uniformity_cross": (_WANG, _OH),
    "modality_gap": (_LIANG,),
    "modality_gap_debiased": (_LIANG, "hoeffding1948class"),
    "modality_gap_squared": (_LIANG, "hoeffding1948class"),
    "modality_gap_standardized": (_LIANG, "cohen1988power"),
    "relative_modality_gap": ("schrodi2025two",),
    "linear_separability": (_FAHIM,),
    "gap_after_centering": ("olkin1982distance",),
    "gap_shift_curve": (_LIANG,),
    "gap_ablation_curve": ("schrodi2025two",),
    "mean_cosine": (_LIANG,),
    "retrieval": (_RADFORD,),
    "recall@1": (_RADFORD,),
    "recall@5": (_RADFORD,),
    "recall@10": (_RADFORD,),
    "reliability": (_GUO,),
    "retrieval_posterior": (_GUO,),
    "ece": (_GUO,),
    "mce": (_GUO,),
    "temperature": (_GUO,),
    "ece_calibrated": (_GUO,),
    "nll": (_GUO,),
    "ece_debiased": ("kumar2019verified",),
    "ace": ("nixon2019measuring",),
    "smece": ("blasiok2024smooth",),
    "brier": ("brier1950verification",),
    "classwise_ece": ("kull2019beyond",),
    "effective_rank": ("roy2007effective",),
    "effective_rank_centered": ("roy2007effective",),
    "participation_ratio": ("gao2017theory",),
    "participation_ratio_centered": ("gao2017theory",),
    "twonn": ("facco2017estimating",),
    "rankme": ("garrido2023rankme",),
    "isoscore": ("rudman2022isoscore",),
    "w2_uniformity": ("fang2024rethinking",),
    "robin_hood": ("feldbauer2018fast",),
    "hubness": ("radovanovic2010hubs",),
    "antihub_share": ("radovanovic2010hubs",),
    "k_occurrence": ("radovanovic2010hubs",),
    "linear_cka": ("kornblith2019similarity", "song2012feature"),
    "linear_cka_biased": ("kornblith2019similarity",),
    "mutual_knn": ("huh2024platonic",),
    "procrustes_distance": ("gower1975generalized",),
    "trustworthiness": ("venna2001neighborhood",),
    "continuity": ("venna2001neighborhood",),
    "zeroshot": (_RADFORD,),
    "acc1": (_RADFORD,),
    "acc5": (_RADFORD,),
    "mean_per_class_recall": (_RADFORD,),
    # as the code of that paper computes them
    "oh2023_relative_alignment": (_OH,),
    "oh2023_uniformity": (_OH,),
    # losses
    "contrastive": (_RADFORD,),
    "m2_mix": (_OH,),
    "m2_cosines": (_OH,),
    "v_mix": (_OH,),
    "l_mix": (_OH,),
    "vl_mix": (_OH,),
    "geodesic_mixup": (_OH,),
    "in_modal_consistency": ("goel2022cyclip",),
    "cross_modal_consistency": ("goel2022cyclip",),
    "cross_uniformity": (_FAHIM,),
    "embedding_preservation": ("romero2015fitnets",),
    "cosine_preservation": ("hou2019learning",),
    "similarity_preservation": ("tung2019similarity", "park2019relational"),
    "geodesic_contrastive": (_LI,),
    "geodesic_weights": (_LI,),
    "moment_alignment": (_LI,),
    "moment_contrastive": (_LI, "wang2022negative"),
    "interaction_alignment": _SHAPLEY,
    "shapley_alignment": _SHAPLEY,
    "shapley_interaction": _SHAPLEY,
    "sampled_interaction": _SHAPLEY,
    "pair_removal": _SHAPLEY,
    # methods of finetune
    "ft": (_RADFORD,),
    "m2mix": (_OH,),
    "m3mix": (_OH,),
    "vmix": (_OH,),
    "lmix": (_OH,),
    "vlmix": (_OH,),
    "imix": ("lee2021imix",),
    "unmix": ("shen2022unmix",),
    "hcl": ("robinson2021contrastive",),
    "cyclip": ("goel2022cyclip",),
    "cua": (_FAHIM,),
    "cuaxu": (_FAHIM,),
    "geodesic": (_LI,),
    "g2l": _SHAPLEY,
    "siglip": ("zhai2023sigmoid",),
    "lp-ft": ("kumar2022fine",),
    "wise-ft": ("wortsman2022robust",),
    "soup": ("wortsman2022soups",),
    "es": (_LIANG,),
    "lora": ("hu2022lora",),
    # projections
    "svd": ("halko2011finding",),
    "pca": ("halko2011finding",),
    "umap": ("mcinnes2018umap",),
    "umap-sphere": ("mcinnes2018umap",),
    "tsne": ("vandermaaten2008visualizing", "policar2024opentsne"),
    "angles": ("cox1991multidimensional", "deleeuw2009multidimensional"),
    "dosnes": ("lu2019doubly",),
    "heat-geodesic": ("huguet2023heat",),
    # models and data
    "clip": (_RADFORD,),
    "coco": _COCO,
    "coco-karpathy": (*_COCO, _KARPATHY),
    "flickr8k": ("hodosh2013framing", _KARPATHY),
    "flickr30k": ("young2014image", _KARPATHY),
}
"""What can be cited, and the keys of its entries in `sources.bib`, the first source first."""

NONE_NEEDED = (
    "mean_cosine_matched",
    "mean_cosine_unmatched",
    "median_rank",
    "mean_rank",
    "duplicate_image_share",
    "duplicate_text_share",
    "truncated_text_share",
    "draw_coalitions",
    "matching_value",
    "emoji",
)
"""What is a plain count or mean, or was made for geomclip: its source is geomclip."""

SIDES = ("text_retrieval_", "image_retrieval_", "zeroshot_", "text_", "image_")
CLOUDS = ("_image", "_text")


@runtime_checkable
class Numbers(Protocol):
    """A panel: numbers by key, of which set."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Key to value."""

    @property
    def curves(self) -> Mapping[str, Any]:
        """Name of a curve to its points."""

    @property
    def made_from(self) -> Mapping[str, Any]:
        """Model and data."""


@runtime_checkable
class Changes(Protocol):
    """A comparison: a row a key, and what the two sides are."""

    @property
    def rows(self) -> Mapping[str, Any]:
        """Key to its change."""

    @property
    def before(self) -> Mapping[str, Any]:
        """What one side is."""

    @property
    def after(self) -> Mapping[str, Any]:
        """What the other side is."""


@runtime_checkable
class Drawn(Protocol):
    """A map: how it was drawn, what it keeps, of which set."""

    @property
    def method(self) -> str:
        """As in `geomclip.projections.PROJECTIONS`."""

    @property
    def keeps(self) -> Mapping[str, float | None]:
        """What of the full space the drawing keeps."""

    @property
    def made_from(self) -> Mapping[str, Any]:
        """Model and data."""


@runtime_checkable
class Made(Protocol):
    """A set: of which model and data."""

    @property
    def made_from(self) -> Mapping[str, Any]:
        """Model and data."""


@runtime_checkable
class Run(Protocol):
    """A run of finetune: its settings and its comparison."""

    @property
    def settings(self) -> Any:
        """Method, LoRA."""

    @property
    def comparison(self) -> Any:
        """Before and after."""


CLASSES = {"SphericalMDS": "angles"}
"""Projections whose class has another name than their method, but for - and capitals."""


def cite(*what: Any) -> str:
    """BibTeX of the sources of what is named, or of all numbers of a result; each entry once.

    Parameters
    ----------
    *what : str, Panel, Comparison, Map, EmbeddingSet, result of finetune, or a list of them
        Names are keys of numbers, functions of `geomclip.metrics` and `geomclip.losses`, methods of finetune and of
        projections (or their classes), and data sets. Nothing: geomclip itself.

    Returns
    -------
    str
        Entries with a blank line between. Of a result also those of its data and model, as far as they have papers,
        of the corrections of its verdicts, and geomclip.

    Raises
    ------
    ValueError
        If a name is unknown (the nearest are given), or something else can be cited.

    Examples
    --------
    >>> print(cite("modality_gap").splitlines()[0])
    @inproceedings{liang2022mind,
    >>> cite("text_retrieval_ece@500") == cite("ece"), cite() == cite("emoji")
    (True, True)
    """
    keys = dict.fromkeys(key for each in what for key in _keys_of(each)) or {OWN: None}
    return "\n\n".join(entries()[key] for key in keys) + "\n"


def of_name(name: str) -> tuple[str, ...]:
    """The keys of the entries of one name.

    Raises
    ------
    ValueError
        If it is unknown; the message has the nearest.

    Examples
    --------
    >>> of_name("effective_rank_image"), of_name("image_retrieval_mean_rank")
    (('roy2007effective',), ('geomclip',))
    """
    if found := _found(name):
        return found
    close = near(name, (*SOURCES, *NONE_NEEDED))
    hint = f"nearest: {', '.join(close)}" if close else "it may be a key, a method, a projection, a loss or a data set"
    raise ValueError(f"no source of {name!r}; {hint}")


def _found(name: str) -> tuple[str, ...]:
    """The keys of the entries of one name; none of one that is unknown."""
    for stem in _stems(name):
        if stem in SOURCES:
            return SOURCES[stem]
        if stem in NONE_NEEDED:
            return (OWN,)
    return ()


@cache
def entries() -> dict[str, str]:
    """Key to BibTeX entry, as `sources.bib` has them."""
    found = re.split(r"\n+(?=@)", FILE.read_text("utf-8").strip())
    return {each.partition("{")[2].partition(",")[0]: each.strip() for each in found}


def _stems(name: str) -> Iterator[str]:
    """The name, and what it is of whichever direction, modality and size."""
    base = name.removesuffix(f"@{FIXED_SIZE}")
    yield base
    yield CLASSES.get(base, re.sub("(?<=[a-z])(?=[A-Z])", "-", base).lower())
    yield from (base.removeprefix(side) for side in SIDES if base.startswith(side))
    yield from (base.removesuffix(cloud) for cloud in CLOUDS if base.endswith(cloud))


def _keys_of(what: Any) -> Iterator[str]:
    """The keys of the entries of one thing."""
    if isinstance(what, str):
        yield from of_name(what)
    elif isinstance(what, Run):
        yield from of_name(what.settings.method)
        yield from of_name("lora") if what.settings.lora else ()
        for kind in what.settings.preserve:
            yield from of_name(f"{kind}_preservation")
        yield from _keys_of(what.comparison)
    elif isinstance(what, Changes):
        yield from _of_numbers(what.rows)
        if any(row.q is not None for row in what.rows.values()):
            yield from ("holm1979simple", "benjamini1995controlling")
        yield from _of_set(what.before)
        yield from _of_set(what.after)
        yield OWN
    elif isinstance(what, Drawn):
        yield from of_name(what.method)
        yield from _of_numbers(name for name, kept in what.keeps.items() if kept is not None and name in SOURCES)
        yield from _of_set(what.made_from)
        yield OWN
    elif isinstance(what, Numbers):
        yield from _of_numbers(key for key, value in what.values.items() if value is not None)
        yield from _of_numbers(what.curves)
        yield from _of_set(what.made_from)
        yield OWN
    elif isinstance(what, Made):
        yield from _of_set(what.made_from)
        yield OWN
    elif isinstance(what, Iterable):
        for each in what:
            yield from _keys_of(each)
    else:
        raise ValueError(f"cite takes names, panels, comparisons, maps, sets and results of finetune, got {type(what)}")


def _of_numbers(keys: Iterable[str]) -> Iterator[str]:
    """The entries of the keys of a result, which may come from others; without geomclip's own."""
    yield from (key for name in keys for key in _found(name) if key != OWN)


def _of_set(made_from: Mapping[str, Any]) -> Iterator[str]:
    """The entries of data and model, as far as they have papers."""
    data = str(made_from.get("dataset") or "")
    yield from SOURCES.get(data, ())
    if made_from.get("pretrained") == "openai":
        yield from SOURCES["clip"]
