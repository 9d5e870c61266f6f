"""Names of models: what each means, and what is said when it means nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from geomclip.encoders import clip, list_models, names, towers
from geomclip.encoders.export import export
from geomclip.machine import words
from geomclip.machine.errors import InputError, NotAvailableError


def test_a_repository_of_another_epoch_is_not_taken_for_the_tag():
    found = towers.tag_config("ViT-B-16-plus-240", "laion400m_e32")
    assert "laion400m_e31" not in found["hf_hub"]
    assert "laion400m_e32" in found["url"]
    assert towers.tag_config("ViT-B-16-plus-240", "laion400m_e31")["hf_hub"].rstrip("/").endswith("laion400m_e31")
    for arch, tags in towers.tags().items():
        for tag in tags:
            config = towers.tag_config(arch, tag)
            assert config.get("hf_hub") or tag == "laion400m_e32", (arch, tag)  # no other loses its repository
    row = next(row for row in list_models() if row.name == "ViT-B-16-plus-240:laion400m_e32")
    assert row.about.startswith("vit_b_16_plus_240-laion400m_e32")


@pytest.mark.parametrize(("name", "plain"), names.OPENAI.items())
def test_an_openai_name_means_openai_weights_with_quick_gelu(name, plain):
    choice = names.resolve(name)
    assert (choice.model, choice.pretrained, choice.arch) == (plain, "openai", f"{plain}-quickgelu")
    assert towers.architecture_config(choice.arch)["quick_gelu"] is True
    assert names.needs_quick_gelu(choice)


@pytest.mark.parametrize(
    "spelling",
    [
        ("ViT-B-32:openai", None),
        ("ViT-B-32,openai", None),
        ("ViT-B-32", "openai"),
        ("ViT-B-32", "OpenAI"),
        ("ViT-B/32", "openai"),
        ("ViT-B/32:openai", None),
        ("vit-b/32", None),
        (" ViT-B/32 ", None),
        ("ViT-B-32-quickgelu:openai", None),
        ("openai/clip-vit-base-patch32", None),
    ],
)
def test_every_spelling_of_openai_weights_gives_quick_gelu(spelling):
    choice = names.resolve(*spelling)
    assert choice.arch == "ViT-B-32-quickgelu"
    assert choice.tag == "openai"


def test_every_tag_that_open_clip_marks_quick_gelu_gets_a_configuration_with_it():
    marked = [
        (arch, tag)
        for arch, its_tags in towers.tags().items()
        for tag in its_tags
        if towers.tag_config(arch, tag).get("quick_gelu")
    ]
    assert len(marked) > 30
    for arch, tag in marked:
        choice = names.resolve(f"{arch}:{tag}")
        assert towers.architecture_config(choice.arch).get("quick_gelu") is True, (arch, tag)


@pytest.mark.parametrize("name", ["ViT-B-32:laion2b_s34b_b79k", "ViT-B-32,laion2b-s34b-b79k"])
def test_weights_trained_with_gelu_keep_the_plain_configuration(name):
    choice = names.resolve(name)
    assert (choice.model, choice.pretrained, choice.arch) == ("ViT-B-32", "laion2b_s34b_b79k", "ViT-B-32")
    assert "quick_gelu" not in towers.architecture_config(choice.arch)


def test_every_twin_exists():
    for name in names.TWINS:
        choice = names.resolve(name)
        assert towers.tag_config(choice.arch, choice.tag), name
    assert names.resolve("facebook/metaclip-b32-400m").arch == "ViT-B-32-quickgelu"


def test_a_hub_repository_that_open_clip_knows_needs_no_prefix():
    name = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert names.resolve(name).repo == name
    assert names.resolve(name) == names.resolve(f"hf-hub:{name}")


def test_a_marked_hub_repository_needs_quick_gelu():
    assert names.needs_quick_gelu(names.resolve("hf-hub:timm/vit_base_patch32_clip_224.openai"))
    assert not names.needs_quick_gelu(names.resolve("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"))
    assert not names.needs_quick_gelu(names.resolve("hf-hub:some/other"))


def test_random_weights_of_an_openai_name_keep_its_activation():
    choice = names.resolve("ViT-B/32", "random")
    assert (choice.arch, choice.pretrained, choice.random) == ("ViT-B-32-quickgelu", "random", True)
    assert names.resolve("ViT-B-32", "random").arch == "ViT-B-32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ViT-B32",), "did you mean ViT-B/32, ViT-B-32"),
        (("ViT-B-32:laion2b",), "ViT-B-32 has no weights 'laion2b': it has ViT-B-32:openai"),
        (("ViT-B-32",), "add a tag: ViT-B-32:openai.*pretrained='random'"),
        (("ViT-B-32-quickgelu:laion2b_s34b_b79k",), r"\(ViT-B-32:laion2b_s34b_b79k exists\)"),
        (("ViT-S-32",), "none that open_clip knows, or pretrained='random'"),
        (("ViT-B-32:",), "ends where a tag should follow"),
        (("ViT-B-32:openai", "laion2b_s34b_b79k"), "two sets of weights"),
        (("demo", "openai"), "'demo' has its own weights"),
        (("hf-hub:some/model", "openai"), "has its own weights"),
        (("some/model",), "hf-hub:some/model"),
        (("openai/clip-vit-base-patch33",), "did you mean openai/clip-vit-base-patch32"),
        (("",), "empty"),
        (("\0",), "unknown model"),
        (("x" * 5000,), "unknown model"),
        (("ViT-B/32", None, "ViT-B-32"), "^arch goes with a weights file"),
        (("hf-hub:some/model", None, "ViT-B-32"), "^arch goes with a weights file"),
    ],
)
def test_a_name_that_means_nothing_is_answered_with_what_would(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        names.resolve(*arguments)
    assert "\n" not in str(caught.value)


def refusals(*calls: Callable[[], object]) -> list[str]:
    """What each call is refused with."""
    found = []
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        found.append(str(caught.value))
    return found


def test_a_message_names_options_as_they_are_written_where_it_is_read():
    calls = [
        lambda: names.resolve("ViT-B-32:openai", "x.pt", "ViT-B-32"),
        lambda: names.resolve("ViT-S-32"),
        lambda: names.resolve("demo", "openai"),
        lambda: clip.choose_precision("fp16", "cpu"),
        lambda: export("demo", "onnx", "out"),
    ]
    in_python = [
        "arch goes with a weights file",
        "or pretrained='random'",
        "pretrained='openai' is neither a file nor 'random'",
        "precision='fp16' needs a GPU",
        "to 'onnx': use one of",
    ]
    on_the_command_line = [
        "--arch goes with a weights file",
        "or --pretrained random",
        "--pretrained openai is neither a file nor 'random'",
        "--precision fp16 needs a GPU",
        "--to 'onnx': use one of",
    ]
    for flags, expected in ((False, in_python), (True, on_the_command_line)):
        words.speak_of_flags(flags)
        try:
            messages = refusals(*calls)
        finally:
            words.speak_of_flags(False)
        for message, text in zip(messages, expected, strict=True):
            assert text in message


@pytest.mark.parametrize("name", ["local-dir:absent", "./absent", "absent.pt", "/absent/run", "~nobody/x"])
def test_an_absent_place_is_named(name):
    with pytest.raises(NotAvailableError, match="no such"):
        names.resolve(name)


def test_a_run_folder_means_best_else_model(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert names.resolve(str(tmp_path)).file == tmp_path / "model.safetensors"
    (tmp_path / "best.safetensors").touch()
    choice = names.resolve(str(tmp_path))
    assert choice.file == tmp_path / "best.safetensors"
    assert (choice.model, choice.pretrained) == (str(tmp_path), "best.safetensors")


def test_a_folder_of_transformers_is_told_apart_from_a_finetune_run(tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
        (tmp_path / name).touch()
    choice = names.resolve(str(tmp_path))
    assert (choice.folder, choice.file) == (tmp_path, None)
    with pytest.raises(InputError, match=r"has no open_clip_config\.json"):
        names.resolve(f"local-dir:{tmp_path}")


def test_a_file_takes_its_architecture_in_any_case_and_spelling(tmp_path):
    file = tmp_path / "epoch_1.pt"
    file.touch()
    assert names.resolve(str(file), arch="vit-b-32").arch == "ViT-B-32"
    assert names.resolve(str(file), arch="ViT-B/32").arch == "ViT-B-32-quickgelu"
    assert names.resolve("demo", str(file), "ViT-B-32").file == file  # a weights file with its architecture
    with pytest.raises(InputError, match="unknown architecture 'ViT-B32': did you mean"):
        names.resolve(str(file), arch="ViT-B32")
    with pytest.raises(InputError, match="is a weights file itself"):
        names.resolve(str(file), "openai")


def test_the_list_names_what_resolves():
    listed = [row.name for row in list_models() if row.group != "form"]
    assert len({names.resolve(name) for name in listed}) > 100


def test_the_list_knows_what_is_on_this_machine(tmp_path):
    place = tmp_path / "weights" / "models--timm--vit_base_patch32_clip_224.openai"
    place.mkdir(parents=True)
    assert not next(row.present for row in list_models(cache_dir=tmp_path) if row.name == "ViT-B/32")
    (place / "open_clip_model.safetensors").touch()
    present = {row.name for row in list_models(cache_dir=tmp_path) if row.present and row.group != "built in"}
    assert present == {"ViT-B/32", "ViT-B-32:openai"}
