"""docs/reproduce.md, written from the table of published numbers: `make readme`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from geomclip.panels.chosen import is_share
from geomclip.panels.lines import markdown_row
from geomclip.reproduction.rows import ROWS, SOURCES, TOLERANCES, Number, Row
from geomclip.reproduction.table import label, title

WIDTH = 119
PAGE = Path(__file__).resolve().with_suffix(".md")

BEGIN = """# Published numbers, and whether they come out here

Written by `docs/reproduce.py` from the table in `geomclip/reproduction/rows.py` (`make readme`).

`geomclip reproduce` measures models that everybody has on data that everybody reports on, and lays what comes out
beside what was published: so it shows whether the whole way, from the weights and the file formats over the transforms
and the tokenizer to the numbers, is right on this machine.

<!-- not run: needs weights and data that are fetched -->
```bash
geomclip reproduce --list                                     # what would be run, what is here, how to get the rest
geomclip reproduce --device cuda --data-root datasets         # all of it; the same command goes on where it was stopped
geomclip reproduce --only b32-openai-coco --data-root datasets
make reproduce REPRODUCE='--device cuda --data-root datasets'
```

Weights are fetched from the hub when a row is run. Data are looked for in `--data-root` (else in the cache's `data`), a
folder a set: `coco-karpathy`, `flickr30k` and `coco` as [formats.md](formats.md) has them, `imagenet1k/val` and
`cifar10/test` as a folder a class. A row whose weights or data are absent is `not here`, with the way to get them. In
`--out` each row has a folder with its panel, which `geomclip compare` reads; a row is not run again while weights, data
and options are what they were.

Each number `holds`, where ours is within the tolerance of what was published, or is `off`; numbers of other images than
the published ones (`--limit`, or data that lack some) never hold. Exit codes: 0 if all that was wanted holds, 3 if a
number is off, 1 if none is off but some were not run or not compared, 2 for arguments that cannot be used.

In Python `gc.reproduce(only="b32-openai-coco")` gives the same table; its `check()` raises where the command exits
with 3 or 1.
"""

CIFAR = """## CIFAR as folders

The images of CIFAR-10 and CIFAR-100 come in archives of their own; with torchvision, which geomclip needs anyway:

<!-- not run: fetches the data -->
```python
from pathlib import Path

from torchvision.datasets import CIFAR10  # and CIFAR100 for datasets/cifar100

data = CIFAR10("downloads", train=False, download=True)
for number, (image, label) in enumerate(data):
    folder = Path("datasets/cifar10/test") / data.classes[label]
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / f"{number:05}.png")
```

Prompts and names of classes are those of the published numbers, whatever lies beside the folders: of ImageNet
open_clip's names and OpenAI's 80 templates (`open_clip.IMAGENET_CLASSNAMES`, `OPENAI_IMAGENET_TEMPLATES`), of CIFAR the
18 templates of `data/prompts.md` of openai/CLIP.
"""

PROTOCOL = """## The protocol of m2-mix

`b32-openai-m2mix` fine-tunes twice as the authors do (`--preset oh2023`: nine epochs of batches of 128, fixed
temperatures; the first caption of each image, the last weights): once with `ft`, once with `m2mix`. Judged is what the
abstract of the paper says: that alignment and uniformity are better with m2-mix, each as the difference of the two
runs, which must be below 0 with its whole interval (both are better where they are lower). Recall is printed and not
judged: the numbers of the paper's tables were not at hand when this page was written, and none is written here from
memory. The authors' split of Flickr30k is not part of their code; here it is Karpathy's.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([BEGIN, *_sources(), *_tolerances(), *_numbers(), CIFAR, PROTOCOL])


def _sources() -> Iterator[str]:
    yield "## Sources\n"
    for source in SOURCES.values():
        yield _wrapped(f"* **{source.name}**: {source.where}. {source.column}.")
    yield _wrapped(
        "\nThe weights of all rows are those that open_clip names, with which its tables were made. Retrieval is on "
        "the test splits of Karpathy and Fei-Fei (2015)."
    )
    yield ""


def _tolerances() -> Iterator[str]:
    yield "## How far ours may be\n"
    for data, (_, why) in TOLERANCES.items():
        yield _wrapped(f"* **{data}**: {why}")
    yield ""


def _numbers() -> Iterator[str]:
    pairs = [row for row in ROWS if row.source == "open_clip retrieval"]
    yield "## The numbers\n"
    yield "Recall@1, 5 and 10 in %, any of the captions of an image counts:\n"
    yield markdown_row(["row", "of", "image → text", "text → image", "within"])
    yield "|---|---|---|---|---|"
    for row in pairs:
        cells = [_published(number) for number in row.numbers]
        both = [", ".join(value for value, _ in cells[start : start + 3]) for start in (0, 3)]
        yield markdown_row([f"`{row.name}`", _of(row), *both, cells[0][1]])
    yield "\nThe others:\n"
    yield markdown_row(["row", "of", "number", "published", "within", "source"])
    yield "|---|---|---|---|---|---|"
    for row in ROWS:
        for number in row.numbers if row not in pairs else ():
            yield markdown_row([f"`{row.name}`", _of(row), label(number), *_published(number), row.source])
    yield ""


def _of(row: Row) -> str:
    return f"{title(row)}, {row.images:,} images"


def _published(number: Number) -> tuple[str, str]:
    if number.published is None:
        return ("below 0", "") if number.below_zero else ("not judged", "")
    factor, places = (100, 2) if is_share(number.key) else (1, 2)
    return f"{factor * number.published:.{places}f}", f"{factor * number.tolerance:.{places}f}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
