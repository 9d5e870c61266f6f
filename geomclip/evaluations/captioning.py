"""captioning: how near captions are to those of people, of a CoCa that writes them here or of any captioner's file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders.clip import Encoder
from geomclip.evaluations.asked import Captioning
from geomclip.evaluations.captions import files, scores, writing
from geomclip.evaluations.captions.tokens import TOKENIZER, tokens
from geomclip.evaluations.result import panel_of
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.words import amount, are, option
from geomclip.pairs.record import Pair, Pairs
from geomclip.panels.lines import some
from geomclip.panels.record import Panel
from geomclip.training.captions import has_decoder
from geomclip.training.pictures import Pictures

ROUNDS = 5
"""Of the captions of an image each of the first so many is the one of a person that is scored against the others."""

COPIES = 0.5
"""From this share on captions that are references of their images were copied, as no captioner hits so many."""

Words = list[str]


@dataclass(frozen=True, eq=False)
class Scored:
    """Images that have a caption and references, as words."""

    captions: list[Words]
    references: list[list[Words]]

    def copied(self) -> int:
        """How many captions are, as words, a reference of their own image."""
        return sum(own in of_image for own, of_image in zip(self.captions, self.references, strict=True))

    def means(self) -> dict[str, Tensor]:
        """ROUGE-L and CIDEr-D of each caption."""
        rouge = scores.rouge_l(self.captions, self.references)
        cider = scores.CiderD(self.references)(self.captions)
        return {"rouge_l": torch.from_numpy(rouge), "cider_d": torch.from_numpy(cider)}


def run(subject: Subject, asked: Captioning, progress: Progress) -> Panel:
    """Scores of captions against the references of the data, beside one caption for all and those of people."""
    pairs = subject.pairs().once()
    if reason := without_captions(pairs):
        raise InputError(reason)
    described, warnings = with_references(pairs)
    how: dict[str, Any]
    more: dict[str, Tensor] = {}
    if asked.captions:
        file = Path(asked.captions).expanduser()
        captions, other = files.matched(files.read(file), described.pairs, file, pairs.title)
        if other:
            warnings.append(f"{amount(other, 'caption')} of {file.name} {are(other)} of other images")
        embeddings, how = _no_vectors(described, file), {"captions_file": file.name}
    else:
        encoder = writer(subject)
        embeddings = subject.embedded(progress)
        place = {name: row for row, name in enumerate(embeddings.image_id)}
        described = replace(described, pairs=[pair for pair in described.pairs if pair.image_id in place])
        embeddings = embeddings.select_images(torch.tensor([place[pair.image_id] for pair in described.pairs]))
        most = min(asked.max_tokens, encoder.context_length - 1)  # its start takes one
        if most < asked.max_tokens:
            warnings.append(f"captions have at most {most} tokens, as many as the model reads, not {asked.max_tokens}")
        captions = written(encoder, described, asked.beams, most, subject.batch_size, progress)
        more["caption_retrieval_recall@1"] = retrieved(encoder, captions, embeddings)
        how = {"beams": asked.beams, "max_tokens": most}
    found = Scored([tokens(each) for each in captions], [references_of(pair) for pair in described.pairs])
    if empty := [pair.image_id for pair, words in zip(described.pairs, found.captions, strict=True) if not words]:
        if len(empty) == len(found.captions):
            raise InputError(f"all {len(empty)} captions are empty, so there is nothing to score")
        score = "scores" if len(empty) == 1 else "score"
        warnings.append(f"{amount(len(empty), 'caption')} {are(len(empty))} empty and {score} 0: {some(empty)}")
    copied = found.copied()
    warnings += _copies(copied, len(captions))
    numbers = Numbers.of(found)
    panel = panel_of(
        "captioning",
        embeddings,
        numbers.values,
        means=numbers.means | more,
        influences=numbers.influences,
        params={
            **how,
            "tokenizer": TOKENIZER,
            "frequent": " ".join(most_frequent(found.references)),
            "copied": copied / len(captions),
        },
        warnings=warnings,
        notes=numbers.notes,
        no_interval=numbers.without,
        items={"image": {"caption": captions}},
        bootstrap=subject.bootstrap,
        seed=subject.seed,
    )
    digest = hashlib.sha256(json.dumps([panel.features_sha256, captions]).encode()).hexdigest()
    return panel.replace(
        n_texts=sum(map(len, found.references)), features_sha256=digest, dim=0 if asked.captions else panel.dim
    )


def _copies(count: int, of: int) -> list[str]:
    """A line where captions are references of their images; that this says nothing where many are."""
    if not count:
        return []
    told = f"{count} of {amount(of, 'caption')} {are(of)} word for word a reference of the image"
    return [f"{told}: copies score as such, and say nothing of a captioner" if count >= COPIES * of else told]


@dataclass(frozen=True, eq=False)
class Numbers:
    """All that is told of captions, for `panel_of`."""

    values: dict[str, float | None] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)
    influences: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)  # why there is no interval

    @classmethod
    def of(cls, found: Scored) -> Numbers:
        """Of the captions, of one caption for all, and of people's."""
        numbers = cls()
        numbers.put("caption", found)
        frequent = most_frequent(found.references)
        numbers.put("caption_frequent", replace(found, captions=[frequent] * len(found.captions)), sizes=(1, 4))
        for name, each in of_people(found.references).items():
            numbers.means[f"caption_human_{name}"] = each
        for name in ("caption_human_rouge_l", "caption_human_cider_d"):
            if name not in numbers.means:
                numbers.values[name] = None
                numbers.notes[name] = "fewer than two images have two captions: no person to compare with"
        counts = Counter(map(tuple, found.captions))
        numbers.values["caption_distinct"] = len(counts) / len(found.captions)
        numbers.values["caption_most_common"] = max(counts.values()) / len(found.captions)
        numbers.means["caption_length"] = torch.tensor([float(len(each)) for each in found.captions])
        return numbers

    def put(self, name: str, found: Scored, sizes: Sequence[int] = (1, 2, 3, 4)) -> None:
        """BLEU of these lengths of n-grams, ROUGE-L and CIDEr-D, their keys beginning with a name."""
        self.means.update({f"{name}_{key}": each for key, each in found.means().items()})
        bleu = scores.bleu(found.captions, found.references)
        for size in sizes:
            key = f"{name}_bleu@{size}"
            self.values[key] = bleu.values[size - 1]
            if all(bleu.matched[:size]):
                self.influences[key] = torch.from_numpy(bleu.influences[size - 1])
            else:
                self.without[key] = "no word is right" if size == 1 else f"no {size} words in a row are right"


def most_frequent(references: Sequence[Sequence[Words]]) -> Words:
    """The caption that most images have; of equally frequent ones that whose words are in most images' captions.

    Where all captions differ this is the most ordinary of them.

    Examples
    --------
    >>> most_frequent([[["a", "red", "dog"]], [["a", "cat"]], [["a", "dog"]]])
    ['a', 'dog']
    """
    counts = Counter(caption for of_image in references for caption in dict.fromkeys(map(tuple, of_image)))
    most = max(counts.values())
    images = Counter(word for of_image in references for word in {word for each in of_image for word in each})
    tied = [list(caption) for caption, count in counts.items() if count == most]
    return max(tied, key=lambda caption: sum(images[word] for word in caption) / len(caption))


def of_people(references: Sequence[Sequence[Words]]) -> dict[str, Tensor]:
    """ROUGE-L and CIDEr-D (n,) of a person's caption against the others of the image, the mean over whose it is.

    NaN for an image with one caption; nothing where fewer than two have more.
    """
    place = [image for image, of_image in enumerate(references) if len(of_image) > 1]
    if len(place) < 2:
        return {}
    rounds: dict[str, list[Tensor]] = {}
    for turn in range(ROUNDS):
        own = [turn % len(references[image]) for image in place]
        scored = Scored(
            [references[image][each] for image, each in zip(place, own, strict=True)],
            [
                [caption for number, caption in enumerate(references[image]) if number != each]
                for image, each in zip(place, own, strict=True)
            ],
        )
        for name, of_turn in scored.means().items():
            rounds.setdefault(name, []).append(of_turn)
    found = {}
    for name, of_turns in rounds.items():
        found[name] = torch.full((len(references),), torch.nan, dtype=torch.float64)
        found[name][place] = torch.stack(of_turns).mean(dim=0)
    return found


def references_of(pair: Pair) -> list[Words]:
    """The captions of an image as words, without those that have none."""
    return [words for words in map(tokens, pair.captions) if words]


def with_references(pairs: Pairs) -> tuple[Pairs, list[str]]:
    """The images that have a caption with a word, and a line on the others.

    Raises
    ------
    InputError
        If fewer than two have: CIDEr-D is undefined then.
    """
    kept = [pair for pair in pairs.pairs if references_of(pair)]
    if not kept:
        raise InputError(f"{pairs.title}: no caption has a word, so there is nothing to compare with")
    if len(kept) == 1:
        raise InputError(f"{pairs.title}: one image with captions: CIDEr-D is undefined of fewer than two")
    others = [pair.image_id for pair in pairs.pairs if not references_of(pair)]
    line = f"left out, as they have no captions to compare with: {amount(len(others), 'image')} ({some(others)})"
    return replace(pairs, pairs=kept), [line] if others else []


def writer(subject: Subject) -> Encoder:
    """The encoder, which must be a CoCa; InputError for another."""
    encoder = subject.encoder()
    if not (isinstance(encoder, Encoder) and has_decoder(encoder.module)):
        name = subject.model if isinstance(subject.model, str) else "this model"
        raise InputError(f"{name} writes no captions: name a CoCa, or captions of any model with {option('captions')}")
    return encoder


def written(
    encoder: Encoder, described: Pairs, beams: int, most: int, batch_size: int, progress: Progress
) -> list[str]:
    """The caption of each image; InputError if one can no longer be read."""
    pictures = Pictures(described.pairs, encoder.preprocess(), name=described.title, kept_bytes=0)
    captions: list[str] = []
    for first in range(0, len(described), batch_size):
        progress.stage("captions", first, len(described))
        pixels = [pictures.whole(place) for place in range(first, min(first + batch_size, len(described)))]
        if pictures.lost:
            place, reason = next(iter(pictures.lost.items()))
            raise InputError(f"{described.pairs[place].image.path} can no longer be read ({reason})")
        captions += writing.write(
            encoder,
            torch.stack([each for each in pixels if each is not None]),
            beams=beams,
            most=most,
        )
    progress.stage("captions", len(described), len(described))
    return captions


def retrieved(encoder: Encoder, captions: Sequence[str], embeddings: EmbeddingSet) -> Tensor:
    """Whether each caption, as the same model reads it, finds its own image first (n,)."""
    found = [encoder.encode_text(part) for part in encoder.tokenize(list(captions))[0].split(64)]
    text = torch.nn.functional.normalize(torch.cat(found).double(), dim=1)
    cosine = text @ embeddings.image.double().T
    own = cosine.diagonal()[:, None]
    return ((cosine >= own).sum(dim=1) == 1).double()


def _no_vectors(described: Pairs, file: Path) -> EmbeddingSet:
    """A row an image that says nothing, where only captions are known: the record asks for some."""
    angle = torch.linspace(0, torch.pi, len(described), dtype=torch.float64)
    made = {"model": file.name, "dataset": described.name, "split": described.split}
    names = tuple(pair.image_id for pair in described.pairs)
    return EmbeddingSet(torch.stack([angle.cos(), angle.sin()], dim=1), image_id=names, made_from=made)


def without_captions(pairs: Pairs) -> str:
    """Why data cannot be captioned; "" where they can."""
    if pairs.of_texts:
        return f"{pairs.title} are pairs of texts: name images with captions"
    if not any(pair.captions for pair in pairs.pairs):
        return f"{pairs.title} has no captions to compare with: name pairs"
    return ""


def applies(subject: Subject, asked: Captioning) -> str:
    """Why it cannot be asked, as far as names tell."""
    if not subject.has_encoder:
        return f"{option('embeddings')} are vectors, which write no captions: name a model and data"
    if reason := without_captions(subject.pairs()):
        return reason if subject.label_column is None else f"{reason}, or leave out {option('label_column')}"
    if asked.captions:
        return ""
    try:
        writer(subject)
    except InputError as problem:
        return str(problem)
    return ""


def reads(subject: Subject, asked: Captioning) -> Pairs | None:
    """The images that captions are to find again; captions of a file find none."""
    return None if asked.captions else subject.pairs()


TASK = Task(
    "captioning",
    "how near captions are to those of people, of a CoCa or of a file",
    Captioning,
    run,
    applies,
    reads,
)
