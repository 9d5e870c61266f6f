"""The table of published numbers: each with the place where it stands, and how far from it ours may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Where numbers stand."""

    name: str
    where: str  # the file, at a commit, or the paper
    column: str  # in it


@dataclass(frozen=True)
class Number:
    """A number of a row: as it was published, or how it must be.

    Parameters
    ----------
    key : str
        Of the panel; in a row that is `trained`, of the comparison of its two runs.
    published : float, optional
        Left out: nothing was published that ours could be laid beside.
    tolerance : float
        How far ours may be from it.
    below_zero : bool
        In place of a published number: all of the interval of ours must lie below 0.
    """

    key: str
    published: float | None = None
    tolerance: float = 0.0
    below_zero: bool = False


@dataclass(frozen=True)
class Classes:
    """Folders of classes as the published numbers were taken on them.

    Parameters
    ----------
    count : int
        How many classes there are.
    templates : str
        A name of `geomclip.reproduction.classes.TEMPLATES`: what prompts are made of.
    names : str
        A name of `geomclip.reproduction.classes.NAMES`: what classes are called. Left out: as their folders are.
    by_hand : str
        How to get the data and where to put them; `{root}` stands for the folder.
    """

    count: int
    templates: str
    names: str = ""
    by_hand: str = ""


@dataclass(frozen=True)
class Row:
    """One model on one data set, and all numbers of it that were published together.

    Parameters
    ----------
    name : str
        What `--only` takes.
    model, data, split : str
        As `geomclip measure` takes them; data of classes (`classes`) by the name of their folder.
    images : int
        How many the published numbers are of; 0 for any number.
    numbers : tuple of Number
    source : str
        A name of `SOURCES`.
    captions : str
        "all", or "first" for one text an image.
    weights : str
        How large the weights are.
    classes : Classes, optional
    trained : bool
        Two runs of `geomclip finetune --preset oh2023`, m2-mix compared with ft; else the model as it is.
    """

    name: str
    model: str
    data: str
    split: str
    images: int
    numbers: tuple[Number, ...]
    source: str
    captions: str = "all"
    weights: str = ""
    classes: Classes | None = None
    trained: bool = False


OPEN_CLIP_COMMIT = "05e7db4987eda177906dc164b4c3ebeb39a9991a"
GAP_COMMIT = "8e20cb24efa4c5f89aad694f2f65eb43ffc46d10"

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            "open_clip retrieval",
            f"mlfoundations/open_clip, docs/openclip_retrieval_results.csv at {OPEN_CLIP_COMMIT[:12]}",
            "Flickr (MSCOCO) text retr. R@k: image → text; image retr. R@k: text → image",
        ),
        Source(
            "open_clip classification",
            f"mlfoundations/open_clip, docs/openclip_classification_results.csv at {OPEN_CLIP_COMMIT[:12]}",
            "ImageNet 1k, CIFAR-10, CIFAR-100",
        ),
        Source(
            "open_clip results",
            "mlfoundations/open_clip, docs/openclip_results.csv at 0a1cc15083a7",
            "ImageNet 1k, CIFAR-10, CIFAR-100",
        ),
        Source(
            "Liang et al. 2022",
            "Liang, Zhang, Kwon, Yeung and Zou (2022), Mind the Gap, NeurIPS; Weixin-Liang/Modality-Gap, "
            f"Figure_3_Contrastive_Learning/plot_optimization_exp.ipynb at {GAP_COMMIT[:12]}",
            "README.md: the gap 0.82; the notebook, of 5,000 pairs: Euclidean distance between mass centers 0.8221026",
        ),
        Source(
            "Oh et al. 2023",
            "Oh, So, Byun, Lim, Shin, Jeon and Song (2023), Geodesic Multi-Modal Mixup for Robust Fine-Tuning, "
            "NeurIPS; protocol: changdaeoh/multimodal-mixup, main.py, dataset.py and scripts/m2mix.sh at 5009bcbc836a",
            "Abstract: alignment and uniformity are better than after plain fine-tuning",
        ),
    )
}

TOLERANCES: Mapping[str, tuple[float, str]] = {
    "flickr30k": (
        0.005,
        "0.5 points: 5 of 1,000 images. The published ones are of mixed precision on a GPU, as CLIP_benchmark has it "
        "by default, which turns ranks that are all but ties, and of other versions of the decoder and the resizing.",
    ),
    "coco-karpathy": (
        0.003,
        "0.3 points: 15 of 5,000 images, for the same reasons; and some images have six or seven captions, of which "
        "copies of the data keep five or all.",
    ),
    "imagenet1k": (0.002, "0.2 points: 100 of 50,000 images, for the same reasons."),
    "cifar10": (0.003, "0.3 points: 30 of 10,000 images, enlarged sevenfold, so that the resizing counts."),
    "cifar100": (0.003, "0.3 points, as of CIFAR-10."),
    "coco": (
        0.01,
        "0.01: two decimals are printed, and which of the five captions of an image was taken is not said.",
    ),
}
"""How far ours may be from the published number, by the data, and why."""

BY_HAND_IMAGENET = (
    "its owners give it out after a registration at image-net.org: put the folders of the 1,000 classes of the "
    "validation images (n01440764/, ...) into {root}/val"
)
BY_HAND_CIFAR = (
    "write the test images into a folder a class, {{root}}/test/{first}/*.png: docs/reproduce.md has the lines"
)

IMAGENET = Classes(1000, "imagenet", "imagenet", BY_HAND_IMAGENET)
CIFAR10 = Classes(10, "cifar", "", BY_HAND_CIFAR.format(first="airplane"))
CIFAR100 = Classes(100, "cifar", "", BY_HAND_CIFAR.format(first="apple"))

AT = (1, 5, 10)


@dataclass(frozen=True)
class _Model:
    """A model, and what was published of it: image → text then text → image, at 1, 5 and 10."""

    short: str
    name: str
    weights: str
    flickr30k: tuple[float, ...]
    coco: tuple[float, ...]
    classified: tuple[float, float, float]  # ImageNet-1k, CIFAR-10, CIFAR-100
    classification: str = "open_clip classification"


MODELS = (
    _Model(
        "b32-openai",
        "ViT-B/32",
        "0.6 GB",
        (0.7890, 0.9490, 0.9820, 0.5878, 0.8356, 0.9002),
        (0.5012, 0.7500, 0.8352, 0.3044, 0.5594, 0.6687),
        (0.6332, 0.8983, 0.6423),
        "open_clip results",
    ),
    _Model(
        "b32-laion2b",
        "ViT-B-32:laion2b_s34b_b79k",
        "0.6 GB",
        (0.8410, 0.9620, 0.9830, 0.6678, 0.8838, 0.9310),
        (0.5632, 0.7984, 0.8712, 0.3934, 0.6543, 0.7561),
        (0.6656, 0.9358, 0.7555),
        "open_clip results",
    ),
    _Model(
        "l14-openai",
        "ViT-L/14",
        "1.7 GB",
        (0.8520, 0.9740, 0.9920, 0.6496, 0.8724, 0.9204),
        (0.5634, 0.7938, 0.8660, 0.3651, 0.6106, 0.7113),
        (0.7554, 0.9559, 0.7582),
    ),
    _Model(
        "siglip-b16",
        "ViT-B-16-SigLIP:webli",
        "0.8 GB",
        (0.8910, 0.9800, 0.9930, 0.7468, 0.9230, 0.9562),
        (0.6574, 0.8542, 0.9126, 0.4778, 0.7244, 0.8100),
        (0.7604, 0.9234, 0.7223),
    ),
)


def _rows() -> Iterator[Row]:
    for model in MODELS:
        for data, images, values in (("coco-karpathy", 5000, model.coco), ("flickr30k", 1000, model.flickr30k)):
            keys = [f"{side}_retrieval_recall@{k}" for side in ("text", "image") for k in AT]
            numbers = tuple(Number(key, value, TOLERANCES[data][0]) for key, value in zip(keys, values, strict=True))
            short = data.partition("-")[0]
            yield Row(
                f"{model.short}-{short}", model.name, data, "test", images, numbers, "open_clip retrieval",
                weights=model.weights,
            )  # fmt: skip
        sets = (
            ("imagenet1k", "val", 50_000, IMAGENET),
            ("cifar10", "test", 10_000, CIFAR10),
            ("cifar100", "test", 10_000, CIFAR100),
        )
        for (data, split, images, classes), value in zip(sets, model.classified, strict=True):
            numbers = (Number("zeroshot_acc1", value, TOLERANCES[data][0]),)
            yield Row(
                f"{model.short}-{data}", model.name, data, split, images, numbers, model.classification,
                weights=model.weights, classes=classes,
            )  # fmt: skip
    first = MODELS[0]
    gap = (Number("modality_gap", 0.82, TOLERANCES["coco"][0]),)
    yield Row(
        f"{first.short}-gap", first.name, "coco", "val", 5000, gap, "Liang et al. 2022",
        captions="first", weights=first.weights,
    )  # fmt: skip
    mixed = (
        Number("uniformity_joint", below_zero=True),
        Number("relative_alignment_text_to_image", below_zero=True),
        Number("text_retrieval_recall@1"),
        Number("image_retrieval_recall@1"),
    )
    yield Row(
        f"{first.short}-m2mix", first.name, "flickr30k", "test", 1000, mixed, "Oh et al. 2023",
        captions="first", weights=first.weights, trained=True,
    )  # fmt: skip


ROWS: tuple[Row, ...] = tuple(_rows())
