"""How often is the verdict of a comparison wrong? By pairs of encoders of which the truth is known.

Each kind of pair is made from the populations of `coverage_populations.py`, two encoders of the same images with noise
of one law, and then changed in a way whose truth is known: rankings, angles and confidences moved or left alone. The
headline of `geomclip.compare` is held to that truth, and so are its words on retrieval and the space.

    python analyses/verdicts.py                     # 200 pairs, a minute or two on two cores
    python analyses/verdicts.py --pairs 2000 --seed 7

writes a table in Markdown to stdout, a row a kind. A headline is wrong if it is another word than the truth's, so a
gain that is not told is wrong too: the changes are large enough to be told from 60 images.
"""

# %%
from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from coverage_populations import Cones, Hubs, Overlap, Population, Rows, Sample, unit

import geomclip as gc
from geomclip.panels.comparison import compare
from geomclip.panels.comparison.answer import Answer
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

SIZES = (60, 120, 250, 500)
DIMENSIONS = (64, 512)
PAIRS = 200
RESAMPLES = 200
NOISIER = 3.0
"""By how much the noise of one encoder is larger where there is a gain or a loss."""
CONE = 2.0
"""Of a narrowed space: the coordinate that all rows have in common, beside 1 for their own part. Every 1 - cosine is
divided by 1 + CONE², in the same order."""
SURE = 8.0
"""A factor of the logit scale with which an encoder is surer than it is right; divided by it, hardly sure at all."""
POINT = 0.01
"""Of a collapsed space: the part of each row that is its own."""


@dataclass(frozen=True)
class Kind:
    """A pair of encoders by what is made of two equal ones, and what is true of it."""

    name: str
    made: Callable[[Sample, Sample, np.random.Generator], tuple[Sample, Sample]]
    headline: str
    retrieval: str
    space: str = ""  # "": not known
    noisier: float = 0.0  # by how much the noise of the second encoder is larger

    def wrong_words(self, answer: Answer) -> list[str]:
        """What the answer says of retrieval and the space that is not true."""
        true = {"retrieval": self.retrieval, "space": self.space}
        return [f"{about} {answer.word(about)}" for about, word in true.items() if word and answer.word(about) != word]


# %% [markdown]
# ## What is made of two equal encoders


# %%
def level(before: Sample, after: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    """Nothing: the noise of both is of one law."""
    return before, after


def gain(before: Sample, after: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    """A loss, the other way round."""
    return loss(before, after, generator)[::-1]


def loss(before: Sample, after: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    """The second of the two is the noisier; both are surer than they are right, and it is so by more."""
    return scaled(before, SURE), scaled(after, SURE)


def narrowed(before: Sample, after: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    """One coordinate in common: every 1 - cosine shrinks by one factor, which the logit scale makes good."""
    return before, with_common(after)


def collapse(before: Sample, after: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    """All rows at one point, but for noise that knows nothing of images or texts."""
    image, text, own, scale = after
    one = unit(generator.standard_normal((1, image.shape[1])))
    rows = (unit(one + POINT * unit(generator.standard_normal(each.shape))) for each in (image, text))
    return before, (*rows, own, scale)


def gain_narrowed(before: Sample, after: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    """Both."""
    first, second = gain(before, after, generator)
    return first, with_common(second)


def at_chance(before: Sample, after: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    """The texts of each image given to another, on both sides alike."""
    other = generator.permutation(len(before[0]))
    first, second = ((image, text, other[own], scale) for image, text, own, scale in (before, after))
    return first, second


def calibration_lost(before: Sample, after: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    """A logit scale with which no answer is surer than a guess, where more than half of them are right."""
    return before, scaled(after, 1 / SURE)


def scaled(sample: Sample, factor: float) -> Sample:
    """The same rows at another logit scale."""
    image, text, own, scale = sample
    return image, text, own, factor * scale


def with_common(sample: Sample) -> Sample:
    """The rows with `CONE` in their last coordinate, which was 0, and a logit scale that gives the same confidences."""
    image, text, own, scale = sample
    rows = (unit(np.hstack([each[:, :-1], np.full((len(each), 1), CONE)])) for each in (image, text))
    return (*rows, own, scale * (1 + CONE**2))


KINDS = (
    Kind("level", level, "no difference", "level", "kept"),
    Kind("gain", gain, "better", "up", noisier=NOISIER),
    Kind("loss", loss, "worse", "down", noisier=NOISIER),
    Kind("narrowed", narrowed, "narrowed", "level", "narrowed"),
    Kind("collapse", collapse, "worse", "down", "collapsed"),
    Kind("gain, narrowed", gain_narrowed, "better", "up", "narrowed", NOISIER),
    Kind("at chance", at_chance, "at chance", "at chance", "kept"),
    Kind("calibration lost", calibration_lost, "worse", "level", "kept"),
)


# %% [markdown]
# ## Pairs and their verdicts


# %%
def padded(rows: Rows) -> Rows:
    """The rows with one more coordinate, 0 for all."""
    return np.hstack([rows, np.zeros((len(rows), 1))])


def panel_of(sample: Sample) -> Panel:
    """The default panel of a sample; its nulls are those that have a closed form, chance among them."""
    image, text, own, scale = sample
    rows = (torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in (image, text))
    embeddings = gc.EmbeddingSet(*rows, torch.from_numpy(own), logit_scale=scale)
    return measure(embeddings, bootstrap=RESAMPLES, null_cache=defaultdict(dict))


def answer_of(kind: Kind, population: Population, n: int, seed: Sequence[int]) -> Answer:
    """The verdict on one pair of this kind."""
    generator = np.random.default_rng(seed)
    both = population.draw(n, generator, worse=kind.noisier)
    before, after = ((padded(image), padded(text), own, scale) for image, text, own, scale in both)
    first, second = kind.made(before, after, generator)
    return compare(panel_of(first), panel_of(second)).verdict


@dataclass(frozen=True)
class Job:
    """One pair: which kind, from which population, of how many images."""

    kind: int
    population: Population
    n: int
    seed: tuple[int, ...]

    def __call__(self) -> tuple[int, str, list[str]]:
        """The place of its kind, the headline, and the other words that are not true."""
        torch.set_num_threads(1)
        answer = answer_of(KINDS[self.kind], self.population, self.n, self.seed)
        return self.kind, answer.headline, KINDS[self.kind].wrong_words(answer)


def jobs_of(pairs: int, seed: int, sizes: Sequence[int], dimensions: Sequence[int]) -> list[Job]:
    """The pairs: kinds, populations and dimensions in turn, sizes drawn between the smallest and the largest."""
    generator = np.random.default_rng([seed, 1])
    kinds = [population for d in dimensions for population in (Cones(d - 1), Hubs(d - 1), Overlap(d - 1))]
    return [
        Job(place % len(KINDS), kinds[place // len(KINDS) % len(kinds)], int(generator.choice(sizes)), (seed, place, 2))
        for place in range(pairs)
    ]


def run(job: Job) -> tuple[int, str, list[str]]:
    """What `Job.__call__` gives, by a name that processes can pass on."""
    return job()


def table(found: Sequence[tuple[int, str, list[str]]]) -> str:
    """A row a kind: the truth, how many headlines are wrong and which, and what else is."""
    lines = [
        "| pairs that are | number | true headline | wrong headlines | which | wrong words on retrieval or space |"
    ]
    lines.append("|---|--:|---|--:|---|---|")
    for place, kind in enumerate(KINDS):
        mine = [(headline, words) for each, headline, words in found if each == place]
        wrong = Counter(headline for headline, _ in mine if headline != kind.headline)
        words = Counter(word for _, some in mine for word in some)
        share = f"{100 * sum(wrong.values()) / max(1, len(mine)):.1f} %"
        which, others = (", ".join(f"{count} {word}" for word, count in each.most_common()) for each in (wrong, words))
        lines.append(f"| {kind.name} | {len(mine)} | {kind.headline} | {share} | {which} | {others} |")
    total = sum(headline != KINDS[place].headline for place, headline, _ in found)
    lines.append(f"| **all** | {len(found)} | | {100 * total / max(1, len(found)):.1f} % | | |")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"of all kinds together (default: {PAIRS})")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs: another one draws others (default: 0)")
    parser.add_argument("--n", type=int, nargs="+", default=list(SIZES), help="images of a pair, one of these")
    parser.add_argument("--d", type=int, nargs="+", default=list(DIMENSIONS), help="dimensions, each in turn")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at a time, of one thread each")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        found = list(pool.map(run, jobs_of(options.pairs, options.seed, options.n, options.d)))
    print(table(found))


if __name__ == "__main__":
    main()
