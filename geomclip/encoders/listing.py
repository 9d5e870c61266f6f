"""What can be named as a model, for `geomclip models`: the names, and which weights are on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geomclip.encoders import hub, names, towers


@dataclass(frozen=True)
class ModelInfo:
    """One name that `--model` takes."""

    name: str  # as it is typed
    group: str  # "built in", "OpenAI", "open_clip" or "form"
    about: str  # one phrase
    present: bool | None  # weights on this machine; None where the name stands for many


FORMS = (
    ("hf-hub:ORGANISATION/NAME", "a hub repository in the layout of open_clip or transformers"),
    ("openai/clip-vit-base-patch32", "and its kin: names known from transformers, open_clip's weights"),
    ("local-dir:FOLDER", "a folder with open_clip_config.json and weights"),
    ("FOLDER", "of transformers (CLIPModel, SiglipModel), or an adapter of PEFT with its base as --pretrained"),
    ("RUN", "a run folder of geomclip finetune: its best weights; or RUN/model.safetensors: the last"),
    ("FILE --arch ARCHITECTURE", "weights, a trainer's checkpoint, an index of shards, or a folder with one of these"),
    ("ARCHITECTURE --pretrained random", "random weights, for tests"),
)


def list_models(*, cache_dir: Path | None = None) -> list[ModelInfo]:
    """Every name with weights, then the forms that other names take; nothing is loaded or fetched.

    Examples
    --------
    >>> models = list_models()
    >>> models[0].name, models[0].group
    ('demo', 'built in')
    >>> [m.about for m in models if m.name == "ViT-B/32"]
    ['OpenAI weights, ViT-B-32-quickgelu']
    """
    demo = (names.DEMO_FOLDER / hub.WEIGHTS[0]).is_file()
    rows = [ModelInfo(names.DEMO, "built in", "small CLIP trained on emoji, part of the package", demo)]
    for name, arch in names.OPENAI.items():
        rows.append(_row(name, "OpenAI", arch, "openai", cache_dir))
    for arch, its_tags in towers.tags().items():
        if not arch.endswith(names.QUICK):  # the same weights are listed under the plain name
            rows += [_row(f"{arch}:{tag}", "open_clip", arch, tag, cache_dir) for tag in its_tags]
    return rows + [ModelInfo(form, "form", about, None) for form, about in FORMS]


def _row(name: str, group: str, arch: str, tag: str, cache_dir: Path | None) -> ModelInfo:
    config = towers.tag_config(arch, tag)
    quick = names.QUICK if config.get("quick_gelu") else ""
    organisation, repository, *path = (*config.get("hf_hub", "").split("/"), "")[:3]
    if organisation:
        where = f"{organisation}/{repository}"
        # most folders are not there, which one look settles
        wanted = [path[0]] if path and path[0] else hub.WEIGHTS
        present = hub.repository_folder(where, cache_dir).is_dir() and hub.cached(where, wanted, cache_dir) is not None
    else:  # at an address of its own
        where = Path(config["url"]).name
        present = (hub.cache_folder(cache_dir) / where).is_file()
    about = f"OpenAI weights, {arch}{quick}" if group == "OpenAI" else f"{where}{', QuickGELU' if quick else ''}"
    return ModelInfo(name, group, about, present)
