"""A model's folder that brings code along: refused by file, the code never run, nobody asked."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, assert_one_line, run_cli
from huggingface_hub import constants
from tiny_models import CONFIG, tiny_model

from geomclip.encoders import hub, load_encoder
from geomclip.machine.errors import InputError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "rain", "red"]
TOKENIZER = {"tokenizer_class": "BertTokenizer"}
MAPPED = {"AutoTokenizer": ["marker.Words", None]}
BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
CODE = "from pathlib import Path\nPath(__file__).with_name('was-run').touch()\nPath({!r}).touch()\n"


def of_bert(folder: Path, ran: Path, **settings: dict[str, Any]) -> Path:
    """A folder with a small tokenizer, these settings files, and a module that would tell if it were run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "marker.py").write_text(CODE.format(str(ran)))
    for name, content in {"tokenizer_config": TOKENIZER, **settings}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that planted code would make; nobody may be asked, and transformers may load nothing."""

    def called(*arguments: object, **_: object) -> None:
        raise AssertionError(f"called with {arguments}")

    monkeypatch.setattr("builtins.input", called)
    for name in ("AutoTokenizer", "AutoConfig", "AutoModel"):
        monkeypatch.setattr(f"transformers.{name}.from_pretrained", called)
    monkeypatch.setattr("open_clip.hf_model.AutoConfig.from_pretrained", called)
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.rglob("was-run"))


REFUSED: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "mapped": ({"tokenizer_config": {**TOKENIZER, "auto_map": MAPPED}}, r"tokenizer_config\.json: asks .*\(auto_map\)"),
    "listed": ({"tokenizer_config": {"auto_map": ["marker.Words", None]}}, r"tokenizer_config\.json: .*\(auto_map\)"),
    "a configuration": ({"config": {**BERT, "auto_map": {"AutoConfig": "marker.C"}}}, r"/config\.json: .*\(auto_map\)"),
    "inside": (
        {"config": {**BERT, "parts": [{"auto_map": {"AutoModel": "marker.M"}}]}},
        r"/config\.json: .*\(auto_map",
    ),
    "custom code": ({"tokenizer_config": {**TOKENIZER, "custom_code": True}}, r"tokenizer_config\.json: .*custom_code"),
    "a class": (
        {"tokenizer_config": {"tokenizer_class": "MarkerWords"}},
        r"tokenizer_config\.json: .*'MarkerWords' is no",
    ),
    "a class of the model": ({"config": {**BERT, "tokenizer_class": "MarkerWords"}}, r"/config\.json: .*'MarkerWords'"),
    "any class": ({"tokenizer_config": {"tokenizer_class": "AutoModel"}}, r"tokenizer_config\.json: .*'AutoModel'"),
    "of two": ({"config": {"model_type": "rag"}}, r"/config\.json: .*'RagTokenizer'"),
    "kernels": ({"config": {**BERT, "attn_implementation": "org/k"}}, r"/config\.json: .*\(attn_implementation\)"),
    "no object": ({"config": ["auto_map"]}, r"/config\.json: is no JSON object"),  # type: ignore[dict-item]
}
refused = pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED.keys())


def model(folder: Path, **text: str) -> Path:
    return tiny_model(folder, weights=False, text_cfg={**CONFIG["text_cfg"], "vocab_size": 9, **text})


def assert_refused(name: str, message: str, **options: Any) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        load_encoder(name, pretrained="random", **options)
    assert "\n" not in str(refusal.value)


@refused
def test_a_folder_whose_tokenizer_needs_code_is_refused(
    settings: dict[str, dict[str, Any]], message: str, tmp_path: Path, ran: Path
) -> None:
    folder = of_bert(model(tmp_path / "model", hf_tokenizer_name="nobody/none"), ran, **settings)
    assert_refused(f"local-dir:{folder}", message)
    assert_refused(str(folder), message)


@refused
def test_a_hub_repository_whose_tokenizer_needs_code_is_refused(
    settings: dict[str, dict[str, Any]], message: str, tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for repo, commit in (("org/hand", ""), ("org/fetched", "0" * 40)):
        home = hub.repository_folder(repo, tmp_path)
        of_bert(home / "snapshots" / commit if commit else home, ran, **settings)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text(commit)
        model(hub.repository_folder("org/model", tmp_path), hf_tokenizer_name=repo)
        assert_refused("hf-hub:org/model", message, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**BERT, "auto_map": {"AutoConfig": "marker.C"}}, r"tower/config\.json: .*\(auto_map\)"),
        ({**BERT, "auto_map": {"AutoModel": "marker.M"}}, r"tower/config\.json: .*\(auto_map\)"),
        ({"model_type": "detr", "backbone": "org/other"}, r"tower/config\.json: .* of the kind 'detr'"),
        ({"model_type": "marker"}, r"tower/config\.json: .* of the kind 'marker'"),
    ],
)
def test_a_text_tower_that_needs_code_is_refused(
    config: dict[str, Any], message: str, tmp_path: Path, ran: Path
) -> None:
    tower = of_bert(tmp_path / "tower", ran, config=config)
    assert_refused(f"local-dir:{model(tmp_path / 'model', hf_model_name=str(tower))}", message)


def test_a_text_tower_is_built_from_the_file_that_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = transformers.AutoConfig.from_pretrained
    monkeypatch.setattr("open_clip.hf_model.AutoConfig.from_pretrained", lambda name: read.append(name) or load(name))
    tower = of_bert(tmp_path / "tower", tmp_path / "ran", config=BERT)
    folder = model(tmp_path / "model", hf_model_name=str(tower))
    assert load_encoder(str(folder), pretrained="random").dim == CONFIG["embed_dim"]
    assert read
    assert not [name for name in read if Path(name) == tower]


@pytest.mark.parametrize("trust", [None, False])
def test_transformers_is_told_to_run_nothing(
    trust: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = of_bert(tmp_path / "model", tmp_path / "ran")
    text = {
        **CONFIG["text_cfg"],
        "hf_tokenizer_name": "nobody/none",
        "tokenizer_kwargs": {"trust_remote_code": trust},
    }
    tiny_model(folder, weights=False, text_cfg=text)
    passed: list[Any] = []
    load = transformers.AutoTokenizer.from_pretrained

    def watched(*arguments: Any, **options: Any) -> Any:
        passed.append(options["trust_remote_code"])
        return load(*arguments, **options)

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", watched)
    load_encoder(str(folder), pretrained="random")
    assert passed == [False]


@pytest.mark.parametrize("key", ["tokenizer_type", "subfolder", "revision"])
def test_settings_that_lead_around_what_is_checked_are_refused(key: str, tmp_path: Path, ran: Path) -> None:
    folder = of_bert(tmp_path / "model", ran)
    text = {**CONFIG["text_cfg"], "hf_tokenizer_name": "nobody/none", "tokenizer_kwargs": {key: "rag"}}
    assert_refused(str(tiny_model(folder, weights=False, text_cfg=text)), rf"other files than are checked \({key}\)")


def test_a_command_refuses_it_without_asking(
    tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_model(tmp_path / "model", text_cfg={**CONFIG["text_cfg"], "hf_tokenizer_name": "nobody/none"})
    of_bert(folder, ran, tokenizer_config={"auto_map": MAPPED})
    out = tmp_path / "out"
    answers = io.StringIO("y\ny\n")
    monkeypatch.setattr("sys.stdin", answers)
    done = run_cli(capsys, "export", folder, "--to", "openclip", "--out", out)
    assert_one_line(done, 2, f"{folder / 'tokenizer_config.json'}: asks to run code of its own")
    assert answers.read() == "y\ny\n"
    assert not out.exists()


# the calls themselves

INTO_TRANSFORMERS = {"from_pretrained", "from_config", "HFTokenizer", "get_tokenizer", "HFTextEncoder"}
INTO_TRANSFORMERS |= {"SentenceTransformer", "CrossEncoder", "pipeline"}
BUILDS = {
    "create_model",
    "create_model_and_transforms",
    "create_model_from_pretrained",
    "CLIP",
    "CustomTextCLIP",
    "CoCa",
}


def trusting_calls(source: str) -> Iterator[str]:
    """Calls that may run code of a model: into transformers without `trust_remote_code=False`, or unchecked towers."""
    tree = ast.parse(source)
    aliases = {
        name.asname: name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.asname
    }
    checked = {  # calls in a block `with _as_folder(...)`, which checks the text tower
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        and any(
            isinstance(item.context_expr, ast.Call) and called(item.context_expr) == "_as_folder" for item in node.items
        )
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = aliases.get(called(node), called(node))
        refuses = any(
            word.arg == "trust_remote_code" and isinstance(word.value, ast.Constant) and word.value.value is False
            for word in node.keywords
        )
        if (name in INTO_TRANSFORMERS and not refuses) or (name in BUILDS and id(node) not in checked):
            yield f"{node.lineno}: {name}"


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@pytest.mark.parametrize("path", sorted((ROOT / "geomclip").rglob("*.py")), ids=lambda path: path.stem)
def test_no_call_into_transformers_trusts_what_it_loads(path: Path) -> None:
    assert list(trusting_calls(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import transformers\ntransformers.AutoTokenizer.from_pretrained(name)",
        "from transformers import AutoModel\nAutoModel.from_config(config)",
        "from open_clip.tokenizer import HFTokenizer as T\nT(name, context_length=12)",
        "import open_clip\nopen_clip.get_tokenizer(name, trust_remote_code=True)",
        "import open_clip\nopen_clip.get_tokenizer(name, trust_remote_code=trust)",
        "import open_clip\nopen_clip.create_model(name)",
        "from sentence_transformers import SentenceTransformer\nSentenceTransformer(folder, local_files_only=True)",
        "from peft import PeftModel\nPeftModel.from_pretrained(model, folder)",
        "import open_clip\nwith folder() as f:\n    open_clip.create_model(name)",
    ],
)
def test_a_planted_call_is_seen(planted: str) -> None:
    assert len(list(trusting_calls(planted))) == 1


def test_calls_that_trust_nothing_pass() -> None:
    assert list(trusting_calls("AutoTokenizer.from_pretrained(name, trust_remote_code=False, **more)")) == []
    assert list(trusting_calls("with _as_folder(c, p, w) as f, quiet():\n    open_clip.create_model(f)")) == []
