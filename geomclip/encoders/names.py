"""From the name a person types to what it means: one grammar, one table of names.

An OpenAI name always means the QuickGELU configuration: the weights were trained with that activation, and
open_clip 3.3 builds another one under the plain name with no more than a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from geomclip.encoders import towers
from geomclip.encoders.configuration import CONFIG_FILE
from geomclip.encoders.hf import adapters
from geomclip.encoders.hf import config as hf_config
from geomclip.encoders.hf import folder as hf_folder
from geomclip.encoders.weights.shards import is_weights, usual
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import near, option, typed

DEMO = "demo"
RANDOM = "random"
QUICK = "-quickgelu"
DEMO_FOLDER = Path(__file__).parent / "demo"

OPENAI = {
    "RN50": "RN50",
    "RN101": "RN101",
    "RN50x4": "RN50x4",
    "RN50x16": "RN50x16",
    "RN50x64": "RN50x64",
    "ViT-B/32": "ViT-B-32",
    "ViT-B/16": "ViT-B-16",
    "ViT-L/14": "ViT-L-14",
    "ViT-L/14@336px": "ViT-L-14-336",
}
"""The names of OpenAI's release and open_clip's for the same towers."""

TWINS = {
    "openai/clip-vit-base-patch32": "ViT-B-32:openai",
    "openai/clip-vit-base-patch16": "ViT-B-16:openai",
    "openai/clip-vit-large-patch14": "ViT-L-14:openai",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336:openai",
    "facebook/metaclip-b32-400m": "ViT-B-32:metaclip_400m",
    "facebook/metaclip-b32-fullcc2.5b": "ViT-B-32:metaclip_fullcc",
    "facebook/metaclip-b16-400m": "ViT-B-16:metaclip_400m",
    "facebook/metaclip-b16-fullcc2.5b": "ViT-B-16:metaclip_fullcc",
    "facebook/metaclip-l14-400m": "ViT-L-14:metaclip_400m",
    "facebook/metaclip-l14-fullcc2.5b": "ViT-L-14:metaclip_fullcc",
    "facebook/metaclip-h14-fullcc2.5b": "ViT-H-14:metaclip_fullcc",
    "google/siglip-base-patch16-224": "ViT-B-16-SigLIP:webli",
    "google/siglip-base-patch16-256": "ViT-B-16-SigLIP-256:webli",
    "google/siglip-base-patch16-384": "ViT-B-16-SigLIP-384:webli",
    "google/siglip-base-patch16-512": "ViT-B-16-SigLIP-512:webli",
    "google/siglip-base-patch16-256-multilingual": "ViT-B-16-SigLIP-i18n-256:webli",
    "google/siglip-large-patch16-256": "ViT-L-16-SigLIP-256:webli",
    "google/siglip-large-patch16-384": "ViT-L-16-SigLIP-384:webli",
    "google/siglip-so400m-patch14-224": "ViT-SO400M-14-SigLIP:webli",
    "google/siglip-so400m-patch14-384": "ViT-SO400M-14-SigLIP-384:webli",
    "google/siglip-so400m-patch16-256-i18n": "ViT-SO400M-16-SigLIP-i18n-256:webli",
    "google/siglip2-base-patch32-256": "ViT-B-32-SigLIP2-256:webli",
    "google/siglip2-base-patch16-224": "ViT-B-16-SigLIP2:webli",
    "google/siglip2-base-patch16-256": "ViT-B-16-SigLIP2-256:webli",
    "google/siglip2-base-patch16-384": "ViT-B-16-SigLIP2-384:webli",
    "google/siglip2-base-patch16-512": "ViT-B-16-SigLIP2-512:webli",
    "google/siglip2-large-patch16-256": "ViT-L-16-SigLIP2-256:webli",
    "google/siglip2-large-patch16-384": "ViT-L-16-SigLIP2-384:webli",
    "google/siglip2-large-patch16-512": "ViT-L-16-SigLIP2-512:webli",
    "google/siglip2-so400m-patch14-224": "ViT-SO400M-14-SigLIP2:webli",
    "google/siglip2-so400m-patch14-384": "ViT-SO400M-14-SigLIP2-378:webli",
    "google/siglip2-so400m-patch16-256": "ViT-SO400M-16-SigLIP2-256:webli",
    "google/siglip2-so400m-patch16-384": "ViT-SO400M-16-SigLIP2-384:webli",
    "google/siglip2-so400m-patch16-512": "ViT-SO400M-16-SigLIP2-512:webli",
    "google/siglip2-giant-opt-patch16-256": "ViT-gopt-16-SigLIP2-256:webli",
    "google/siglip2-giant-opt-patch16-384": "ViT-gopt-16-SigLIP2-384:webli",
}
"""Names known from transformers, and open_clip's for the same weights."""


@dataclass(frozen=True)
class Choice:
    """What a name means. The configuration comes from `arch`, `folder` or `repo`, or is in `file` itself."""

    model: str  # what results call the model
    pretrained: str  # what results call its weights
    arch: str = ""  # an open_clip configuration
    tag: str = ""  # one of open_clip's pretrained tags of `arch`
    folder: Path | None = None  # in open_clip's local-dir layout, or in that of transformers
    repo: str = ""  # on the hub, in one of these layouts
    file: Path | None = None  # a weights file of the caller's
    adapter: Path | None = None  # the folder of an adapter of PEFT
    base: str = ""  # what the adapter is merged into, where that is requested
    searched: bool = False  # the file was chosen among those of its folder
    random: bool = False  # weights drawn from a seed


def resolve(model: str, pretrained: str | None = None, arch: str | None = None) -> Choice:
    """What a model name means, with `pretrained` (a tag, a weights file or "random") and `arch` where they are named.

    Raises
    ------
    InputError
        If nothing has this name (the nearest names are suggested), or the three do not go together.
    NotAvailableError
        If it names a file or folder that is not there.
    """
    model = model.strip()
    pretrained = (pretrained or "").strip()
    if not model:
        raise InputError("the model name is empty; geomclip models lists what can be named")
    if arch and model == DEMO and is_weights(pretrained):
        model, pretrained = pretrained, ""  # a weights file with its architecture: the file is the model
    if model.startswith(("encoder:", "st:")):
        raise InputError(f"{model!r} is no model of open_clip's kind: it can be measured, not trained or exported")
    own = _own_place(model, pretrained, arch)
    if own is not None:
        return own
    if arch and model != DEMO and _is_there(model):  # a folder of weights that is named without a "/"
        return _from_path(Path(model).expanduser(), model, pretrained, arch)
    _refuse_arch(arch, model)
    if model == DEMO:
        return _with_weights(Choice(DEMO, "emoji", folder=DEMO_FOLDER), pretrained)
    known = _known(model, pretrained)
    if known is not None:
        return known
    if _is_there(model):
        return _from_path(Path(model).expanduser(), model, pretrained, arch)
    raise _unknown(model)


def says_what_it_is(folder: Path) -> bool:
    """Whether a folder has a file that says which model it holds, or the best weights of a run."""
    files = (CONFIG_FILE, hf_config.FILE, adapters.FILE, hf_folder.MODULES, "best.safetensors")
    return any((folder / name).is_file() for name in files)


def _refuse_arch(arch: str | None, model: str) -> None:
    if arch:
        raise InputError(f"{option('arch')} goes with a weights file; {model!r} says its architecture itself")


def _own_place(model: str, pretrained: str, arch: str | None) -> Choice | None:
    """The choice where the name is plainly a place: a prefix, or the path of a file or folder."""
    if model.startswith("hf-hub:"):
        _refuse_arch(arch, model)
        repo = model.removeprefix("hf-hub:")
        if repo.count("/") != 1:
            raise InputError(f"{model!r} is no repository name: write hf-hub:ORGANISATION/NAME")
        return _with_weights(Choice(model, "", repo=repo), pretrained)
    if model.startswith("local-dir:"):
        folder = Path(model.removeprefix("local-dir:")).expanduser()
        if not folder.is_dir():
            raise NotAvailableError(f"{model}: no such folder")
        return _from_path(folder, model, pretrained, arch, open_clip_layout=True)
    if is_weights(model) or model.startswith((".", "/", "~")) or Path(model).is_absolute():
        if not _is_there(model):
            raise NotAvailableError(f"{model!r}: no such file or folder")
        return _from_path(Path(model).expanduser(), model, pretrained, arch)
    return None


def _from_path(path: Path, model: str, pretrained: str, arch: str | None, *, open_clip_layout: bool = False) -> Choice:
    searched = False
    if path.is_dir():
        if (path / CONFIG_FILE).is_file():
            _refuse_arch(arch, model)
            return _with_weights(Choice(model, "", folder=path), pretrained)
        if not open_clip_layout and (theirs := _of_transformers(path, model, pretrained, arch)):
            return theirs
        best = path / "best.safetensors" if (path / "best.safetensors").is_file() else usual(path)
        if open_clip_layout or best is None or (path / "tokenizer_config.json").is_file():
            if (path / "checkpoints").is_dir() and best is None:
                call = f"geomclip.finetune(out={str(path)!r}, resume=True)"
                on = typed(f"geomclip finetune --out {path} --resume", call)
                raise InputError(f"{path}: is a finetune run that has no weights yet: go on with {on}")
            raise InputError(
                f"{path}: has no {CONFIG_FILE} and no {hf_config.FILE} of transformers, and is no finetune run "
                "with best.safetensors or model.safetensors"
            )
        searched, path = True, best
    if adapters.is_adapter(path):
        return _of_adapter(path.parent, model, pretrained, arch)
    if pretrained and pretrained != RANDOM:
        raise InputError(f"{model!r} is a weights file itself: {option('pretrained', pretrained)} cannot be added")
    if pretrained == RANDOM:
        raise InputError(f"{model!r} is a weights file: for random weights name its architecture as the model")
    return Choice(model, path.name, arch=_architecture(arch) if arch else "", file=path, searched=searched)


def _of_transformers(path: Path, model: str, pretrained: str, arch: str | None) -> Choice | None:
    """The choice where a folder is of transformers, PEFT or sentence-transformers."""
    if adapters.is_adapter(path):
        return _of_adapter(path, model, pretrained, arch)
    found = hf_folder.find(path)
    if found is None:
        return None
    if adapters.is_adapter(found):
        return _of_adapter(found, model, pretrained, arch)
    _refuse_arch(arch, model)
    return _with_weights(Choice(model, "", folder=found), pretrained)


def _of_adapter(path: Path, model: str, pretrained: str, arch: str | None) -> Choice:
    """The choice of an adapter, with the base that `pretrained` names, or with `arch` the base of that kind."""
    if pretrained == RANDOM:
        raise InputError(f"{model!r} is an adapter: {option('pretrained')} names the model that it is merged into")
    if arch:
        raise InputError(
            f"{model!r} holds updates, no whole weights: leave out {option('arch')}; where it is not found "
            f"{option('pretrained', 'FOLDER')} names the base of the adapter"
        )
    return Choice(model, path.name, adapter=path, base=pretrained)


def _with_weights(choice: Choice, pretrained: str) -> Choice:
    """A choice that has weights of its own, with "random" or a file in their place where that is requested."""
    if not pretrained:
        return choice
    if pretrained == RANDOM:
        return Choice(choice.model, RANDOM, choice.arch, folder=choice.folder, repo=choice.repo, random=True)
    path = Path(pretrained).expanduser()
    searched = _is_there(pretrained) and path.is_dir()
    if searched:
        found = usual(path)
        if found is None:
            raise NotAvailableError(f"{pretrained}: has no weights under a usual name: name the file in it")
        path = found
    if not (path.is_file() or is_weights(pretrained)):
        raise InputError(
            f"{choice.model!r} has its own weights: {option('pretrained', pretrained)} is neither a file nor 'random'"
        )
    if not path.is_file():
        raise NotAvailableError(f"{pretrained}: no such file")
    return replace(choice, pretrained=path.name, file=path, searched=searched)


def _known(model: str, pretrained: str) -> Choice | None:
    """The choice for a name of OpenAI, open_clip or transformers, with its tag after `:` or `,`."""
    if model.lower() in _lower(TWINS):
        model = TWINS[_lower(TWINS)[model.lower()]]
    elif model in _hub_repositories():
        return _with_weights(Choice(f"hf-hub:{model}", "", repo=model), pretrained)
    base, separator, tag = model.replace(",", ":", 1).partition(":")
    base, tag = base.strip(), tag.strip()
    if separator and not tag:
        raise InputError(f"{model!r} ends where a tag should follow; geomclip models lists them")
    if tag and pretrained and tag != pretrained and pretrained != RANDOM and not is_weights(pretrained):
        raise InputError(f"two sets of weights: {tag!r} in {model!r} and {option('pretrained')} {pretrained!r}")
    pretrained = pretrained or tag
    openai, arch = _lower(OPENAI).get(base.lower()), _lower(towers.architectures()).get(base.lower())
    if openai is None and arch is None:
        return None
    plain = arch if openai is None else OPENAI[openai]
    assert plain is not None
    if not pretrained and openai is not None:
        pretrained = "openai"
    if not pretrained:
        raise InputError(
            f"{plain} alone names no weights: add a tag: {_offers(plain)}, or {option('pretrained', RANDOM)}"
        )
    if pretrained == RANDOM or is_weights(pretrained) or _is_there(pretrained):
        quick = openai is not None and "/" in base  # RN50 is open_clip's own name too
        return _with_weights(Choice(plain, "", plain + QUICK if quick else plain), pretrained)
    return _tagged(plain, pretrained)


def _tagged(plain: str, tag: str) -> Choice:
    cleaned = tag.lower().replace("-", "_")
    if cleaned not in towers.tags().get(plain, ()):
        twin = plain.removesuffix(QUICK)
        other = f" ({twin}:{cleaned} exists)" if cleaned in towers.tags().get(twin, ()) else ""
        raise InputError(f"{plain} has no weights {tag!r}{other}: it has {_offers(plain)}")
    quick = towers.tag_config(plain, cleaned).get("quick_gelu", False)
    twin = plain if plain.endswith(QUICK) else plain + QUICK
    arch = twin if quick and twin in towers.architectures() else plain
    return Choice(plain, cleaned, arch=arch, tag=cleaned)


def needs_quick_gelu(choice: Choice) -> bool:
    """Whether open_clip marks the named weights as trained with QuickGELU."""
    if choice.tag:
        return bool(towers.tag_config(choice.arch, choice.tag).get("quick_gelu"))
    if choice.repo and choice.repo in _hub_repositories():
        return bool(towers.tag_config(*_hub_repositories()[choice.repo]).get("quick_gelu"))
    return False


def _hub_repositories() -> dict[str, tuple[str, str]]:
    """The hub repositories of open_clip's tags, with the first (architecture, tag) that each serves."""
    found: dict[str, tuple[str, str]] = {}
    for arch, its_tags in towers.tags().items():
        for tag in its_tags:
            parts = towers.tag_config(arch, tag).get("hf_hub", "").split("/")
            if parts != [""]:
                found.setdefault("/".join(parts[:2]), (arch, tag))
    return found


def _architecture(name: str) -> str:
    table = _lower([*towers.architectures(), *OPENAI])
    found = table.get(name.strip().lower())
    if found is None:
        raise InputError(f"unknown architecture {name!r}{_meant(name, list(table.values()))}")
    return OPENAI[found] + QUICK if "/" in found else found


def _unknown(model: str) -> InputError:
    tagged = [f"{arch}:{tag}" for arch, its_tags in towers.tags().items() for tag in its_tags]
    pool = [DEMO, *OPENAI, *towers.architectures(), *TWINS, *_hub_repositories(), *tagged]
    hub = f"; a hub repository is hf-hub:{model}" if model.count("/") == 1 else ""
    return InputError(f"unknown model {model!r}{_meant(model, pool)}{hub}; geomclip models lists them all")


def _meant(name: str, pool: list[str]) -> str:
    close = near(name, pool)
    return f": did you mean {', '.join(close)}?" if close else ""


def _offers(arch: str) -> str:
    its_tags = towers.tags().get(arch, ())
    if not its_tags:
        return "none that open_clip knows"
    shown = ", ".join(f"{arch}:{tag}" for tag in its_tags[:6])
    return shown if len(its_tags) <= 6 else f"{shown} and {len(its_tags) - 6} more (geomclip models)"


def _is_there(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a null byte
        return False


def _lower(names: object) -> dict[str, str]:
    return {str(name).lower(): str(name) for name in names}  # type: ignore[attr-defined]
