"""Names of tensors as trainers and wrappers leave them: where the model begins in them, and what is not of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

TOWERS = (
    ({"visual"}, {"text", "transformer", "token_embedding"}),  # open_clip
    ({"vision_model"}, {"text_model"}),  # transformers
    ({"image_encoder"}, {"text_encoder"}),  # Apple's MobileCLIP
)
"""What the image tower and the text tower of a model are called, in each layout: a model begins where both do."""
_TOWER_NAMES = frozenset().union(*(names for layout in TOWERS for names in layout))
_INSERTED = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What torch itself puts into names, wherever a part of a model is wrapped."""


@dataclass(frozen=True)
class Bare:
    """Names with what stands before the model taken off."""

    names: Mapping[str, str]  # the name in the file, by the bare one
    prefix: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)  # tensors that are not of the model, by their first part


def roots(names: Iterable[str]) -> list[str]:
    """The prefixes below which both towers of a model lie, as "model." and ""; the shortest first.

    Examples
    --------
    >>> roots(["model.visual.proj", "model.text_projection", "model.transformer.w", "loss.visual.w"])
    ['model.']
    """
    found: list[tuple[set[str], set[str]]] = [(set(), set()) for _ in TOWERS]
    for name in names:
        parts = name.split(".")
        for place, part in enumerate(parts[:-1]):
            if part in _TOWER_NAMES:
                for layout, seen in zip(TOWERS, found, strict=True):
                    for tower, prefixes in zip(layout, seen, strict=True):
                        if part in tower:
                            prefixes.add("".join(f"{each}." for each in parts[:place]))
    return sorted({prefix for image, text in found for prefix in image & text}, key=lambda each: (len(each), each))


def bare(names: Collection[str], root: str | None) -> Bare:
    """The names below a root, and how many are not; without a root those below the prefix that all have in common.

    Examples
    --------
    >>> found = bare(["model.visual.a", "model.text.b", "loss.c", "loss.d"], "model.")
    >>> sorted(found.names), dict(found.left_out)
    (['text.b', 'visual.a'], {'loss': 2})
    >>> bare(["module._orig_mod.visual.a", "module._orig_mod.visual.b"], None).prefix
    'module._orig_mod.'
    """
    prefix = _common(names) if root is None else root
    below = {name[len(prefix) :]: name for name in names if name.startswith(prefix)}
    rest = Counter(name.split(".")[0] for name in names if not name.startswith(prefix))
    plain = {_without_inserted(name): full for name, full in below.items()}
    return Bare(plain if len(plain) == len(below) else below, prefix, dict(rest.most_common()))


def told(found: Bare, where: str) -> tuple[str, ...]:
    """Notes on what was taken off and left out."""
    notes = []
    if found.prefix:
        notes.append(f"the names in {where} begin with {found.prefix!r}, which is taken off")
    if found.left_out:
        groups = [f"{group} ({count})" for group, count in found.left_out.items()]
        more = f" and {len(groups) - 4} more groups" if len(groups) > 4 else ""
        count = sum(found.left_out.values())
        left = f"{count} tensors of {where} are" if count > 1 else f"1 tensor of {where} is"
        notes.append(f"{left} not below {found.prefix!r} and left out: {', '.join(groups[:4])}{more}")
    return tuple(notes)


def _common(names: Collection[str]) -> str:
    """The parts that all names begin with, up to the first that is a tower's."""
    shared: list[str] = []
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1 or parts[0] in _TOWER_NAMES:
            break
        shared.append(parts[0])
    return "".join(f"{part}." for part in shared)


def _without_inserted(name: str) -> str:
    *parts, last = name.split(".")
    return ".".join([*(part for part in parts if part not in _INSERTED), last])
