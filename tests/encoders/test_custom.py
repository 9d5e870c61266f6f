"""Encoders of the caller's own: functions, objects and code by name give the rows they gave, or a line says why not."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from callers import command_line
from helpers import assert_one_line, folder_of_pairs, run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL.Image import Image
from recorder import Recorder
from tiny import TinyEncoder, tiny_pairs

from geomclip.embeddings.store import load
from geomclip.encoders.custom import FunctionEncoder, taken
from geomclip.encoders.custom.located import located
from geomclip.encoders.extraction.calls import embed, extract
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError

DIM = 48


def image_rows(pictures: list[Image]) -> NDArray[np.float32]:
    return np.stack([np.asarray(each.resize((4, 4)), dtype=np.float32).ravel() / 255 - 0.4 for each in pictures])


def text_rows(texts: Sequence[str]) -> NDArray[np.float32]:
    generators = [np.random.default_rng(list(each.encode())) for each in texts]
    return np.stack([each.standard_normal(DIM).astype(np.float32) for each in generators])


class Own:
    """An object as the rule takes it; it counts its calls."""

    logit_scale = 20.0

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode_image(self, pictures: list[Image]) -> NDArray[np.float32]:
        self.calls.append(len(pictures))
        return image_rows(pictures)

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        self.calls.append(len(texts))
        return text_rows(texts)


def both(images: list[Image] | None = None, texts: list[str] | None = None) -> NDArray[np.float32]:
    assert (images is None) != (texts is None)
    return text_rows(texts or ()) if images is None else image_rows(images)


def unit(rows: Any) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.as_tensor(rows).double(), dim=1).float()


@pytest.fixture
def pairs(tmp_path: Path) -> Any:
    return tiny_pairs(tmp_path / "images", 12)


def from_pictures(pairs: Any) -> torch.Tensor:
    from geomclip.pairs.images import decode

    return unit(image_rows([decode(pair.image.read(), name="") for pair in pairs.pairs]))


def texts_of(pairs: Any) -> list[str]:
    return list(pairs.texts()[0])


# -------------------------------------------------------------------------------------------------- the rows are theirs


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("workers", [0, 2, None])
def test_every_row_is_what_the_function_gave(pairs: Any, tmp_path: Path, batch_size: int, workers: int | None) -> None:
    how: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "cache_dir": tmp_path / "cache"}
    found = embed(encode_image=image_rows, encode_text=text_rows, data=pairs, **how)
    assert torch.allclose(found.image, from_pictures(pairs), atol=1e-6)
    assert torch.allclose(found.text, unit(text_rows(texts_of(pairs))), atol=1e-6)
    assert found.caption == tuple(texts_of(pairs))


@pytest.mark.parametrize(
    "give",
    [
        lambda rows: rows,
        lambda rows: rows.astype(np.float64),
        lambda rows: rows.astype(np.longdouble),
        lambda rows: rows.tolist(),
        lambda rows: list(rows),
        lambda rows: rows[:, ::-1][:, ::-1],
        lambda rows: torch.from_numpy(rows),
        lambda rows: torch.from_numpy(rows).double(),
        lambda rows: torch.nn.Parameter(torch.from_numpy(rows)),
        lambda rows: list(torch.from_numpy(rows)),
        lambda rows: torch.from_numpy(rows).to_sparse(),
    ],
)
def test_rows_may_be_of_any_kind_of_float(pairs: Any, tmp_path: Path, give: Any) -> None:
    found = embed(encode_image=lambda x: give(image_rows(x)), encode_text=text_rows, data=pairs, cache_dir=tmp_path)
    assert torch.allclose(found.image, from_pictures(pairs), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_rows_are_widened(pairs: Any, tmp_path: Path, dtype: torch.dtype) -> None:
    found = embed(
        encode_image=lambda x: torch.from_numpy(image_rows(x)).to(dtype),
        encode_text=lambda x: torch.from_numpy(text_rows(x)).to(dtype),
        data=pairs,
        cache_dir=tmp_path,
    )
    assert found.image.dtype == torch.float32
    assert torch.allclose(found.image, from_pictures(pairs), atol=1e-2)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 9),
    st.sampled_from([np.float16, np.float32, np.float64, np.longdouble]),
    st.integers(0, 2**32 - 1),
)
def test_drawn_rows_come_back_as_they_are(count: int, width: int, dtype: Any, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((count, width)).astype(dtype)
    encoder = FunctionEncoder({"text": lambda _: rows}, model="drawn")
    assert np.array_equal(encoder.encode("text", ["x"] * count).numpy(), rows.astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=0, max_size=3), st.integers(1, 4))
def test_drawn_shapes_are_taken_or_refused_in_one_line(shape: list[int], count: int) -> None:
    encoder = FunctionEncoder({"text": lambda _: np.ones(shape)}, model="drawn")
    if len(shape) == 2 and shape[0] == count and shape[1]:
        assert encoder.encode("text", ["x"] * count).shape == (count, shape[1])
        return
    with pytest.raises(InputError, match=r"^drawn: of .+ it gave rows of shape .+, not \(\d+, d\)$"):
        encoder.encode("text", ["x"] * count)


def test_images_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path / "images", 24, bad=(0, 9))
    found = embed(Own(), pairs, batch_size=4, cache_dir=tmp_path / "cache")
    assert found.image_id == tuple(f"id{i}" for i in range(24) if i not in (0, 9))
    assert [each["image_id"] for each in found.made_from["skipped"]] == ["id0", "id9"]


def test_rows_of_nan_are_left_out_as_of_any_model(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path / "images", 24)

    def spoilt(pictures: list[Image]) -> NDArray[np.float32]:
        rows = image_rows(pictures)
        if len(rows) > 3:
            rows[2] = np.nan
        return rows

    told = Recorder()
    common: dict[str, Any] = {"data": pairs, "batch_size": 16, "cache_dir": tmp_path / "c", "progress": told}
    found = embed(encode_image=spoilt, encode_text=text_rows, **common)
    assert any(line.startswith("2 images skipped, named in ") for line in told.lines)
    assert [each["image_id"] for each in found.made_from["skipped"]] == ["id2", "id18"]
    sound = [i for i in range(24) if i not in (2, 18)]
    assert found.image_id == tuple(f"id{i}" for i in sound)
    assert torch.allclose(found.image, from_pictures(pairs)[sound], atol=1e-6)
    with pytest.raises(InputError, match=r"images cannot be used, more than a tenth; first: 002.png .its embedding"):
        embed(encode_image=spoilt, encode_text=text_rows, data=pairs, batch_size=4, cache_dir=tmp_path / "c")


def test_a_raw_store_keeps_the_lengths(pairs: Any, tmp_path: Path) -> None:
    folder = extract(taken(Own()), pairs, tmp_path / "out", raw=True)  # type: ignore[arg-type]
    rows = np.load(folder / "text_emb" / "text_emb_0000.npy")
    assert np.array_equal(rows, text_rows(texts_of(pairs)))


def test_which_texts_are_cut_is_not_known(pairs: Any, tmp_path: Path) -> None:
    assert embed(Own(), pairs, cache_dir=tmp_path).truncated is None


def test_the_calling_thread_alone_calls_the_functions(pairs: Any, tmp_path: Path) -> None:
    seen = set()

    def encode(inputs: list[Any]) -> Any:
        seen.add(threading.get_ident())
        return both(texts=inputs) if isinstance(inputs[0], str) else both(images=inputs)

    embed(encode_image=encode, encode_text=encode, data=pairs, batch_size=2, workers=2, cache_dir=tmp_path)
    assert seen == {threading.get_ident()}


# ------------------------------------------------------------------------------------------------------------- the rule


def make() -> Own:
    return Own()


def make_class() -> type[Own]:
    return Own


@pytest.mark.parametrize("found", [Own, Own(), make, make_class, both, lambda: both])
def test_each_form_of_the_rule_gives_the_same_rows(pairs: Any, tmp_path: Path, found: Any) -> None:
    given = embed(found, pairs, cache_dir=tmp_path)
    assert torch.allclose(given.image, from_pictures(pairs), atol=1e-6)
    assert torch.allclose(given.text, unit(text_rows(texts_of(pairs))), atol=1e-6)


def test_an_encoder_of_the_whole_protocol_stays_what_it_is() -> None:
    encoder = TinyEncoder()
    assert taken(encoder) is encoder


def endless() -> Any:
    return endless


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (3, "int is int, which encodes nothing: write def f"),
        ("x", None),
        (lambda pictures: pictures, "has no parameter images or texts, and cannot be called without arguments"),
        (endless, "has no parameter images or texts"),
        (type("Needs", (), {"__init__": lambda self, weights: None}), "needs arguments: name a function without any"),
    ],
)
def test_what_no_rule_takes_is_refused_in_one_line(found: Any, message: str | None) -> None:
    if message is None:
        with pytest.raises(InputError, match="unknown model 'x'"):
            embed(found, "emoji", limit=4)
        return
    with pytest.raises(InputError, match=message):
        taken(found)


def test_a_module_of_open_clip_is_refused_with_the_way_out() -> None:
    import open_clip

    module = open_clip.model.CLIP(
        16,
        {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
    )
    with pytest.raises(InputError, match="is a model of open_clip, which takes pixels and tokens: write encode_image"):
        taken(module)


def test_a_logit_scale_is_that_of_the_call_else_of_the_object_else_assumed(pairs: Any, tmp_path: Path) -> None:
    assert embed(Own, pairs, cache_dir=tmp_path).logit_scale == 20
    own = embed(Own, pairs, cache_dir=tmp_path, logit_scale=7)
    assert (own.logit_scale, own.logit_scale_source) == (7, "model")
    without = embed(both, pairs, cache_dir=tmp_path)
    assert (without.logit_scale, without.logit_scale_source) == (100, "assumed")


def test_a_logit_scale_that_is_a_tensor_may_be_a_logarithm_and_is_not_taken(pairs: Any, tmp_path: Path) -> None:
    own = Own()
    own.logit_scale = torch.tensor(2.0)  # type: ignore[assignment]
    assert embed(own, pairs, cache_dir=tmp_path).logit_scale_source == "assumed"


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_logit_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="logit_scale must be positive and finite, got"):
        taken(both, logit_scale=scale)


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("image", "text", "message"),
    [
        (image_rows, lambda x: text_rows(x)[:, :3], "its rows have 48 of images and 3 of texts"),
        (lambda x: image_rows(x)[:-1], text_rows, r"of 1 image it gave rows of shape \(0, 48\), not \(1, d\)"),
        (lambda x: image_rows(x)[0], text_rows, r"of 1 image it gave rows of shape \(48,\), not"),
        (lambda x: None, text_rows, "of images it gave NoneType of object, not rows of floats"),
        (lambda x: ["a"], text_rows, "of images it gave list of <U1, not rows of floats"),
        (lambda x: np.ones((len(x), 4), dtype=int), text_rows, "of images it gave ndarray of int64, not rows"),
        (lambda x: torch.ones(len(x), 4, dtype=torch.int8), text_rows, "it gave Tensor of torch.int8, not rows"),
        (image_rows, None, "encodes no texts, which these data have: it has encode_image, and no encode_text"),
        (None, text_rows, "encodes no images, which these data have: it has encode_text, and no encode_image"),
    ],
)
def test_rows_that_cannot_be_are_refused_before_the_long_work(
    pairs: Any, tmp_path: Path, image: Any, text: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        embed(encode_image=image, encode_text=text, data=pairs, cache_dir=tmp_path)
    assert "\n" not in str(refused.value)


def test_a_batch_of_another_width_than_the_first_is_refused(pairs: Any, tmp_path: Path) -> None:
    def ragged(pictures: list[Image]) -> NDArray[np.float32]:
        return image_rows(pictures)[:, : 48 if len(pictures) == 1 else 47]

    with pytest.raises(InputError, match="of 12 images it gave rows of 47 dimensions, 48 before"):
        embed(encode_image=ragged, encode_text=text_rows, data=pairs, cache_dir=tmp_path)


def test_what_is_no_function_is_refused_by_its_name(pairs: Any) -> None:
    with pytest.raises(InputError, match=r"encode_image must be a function from a list to rows, got 3$"):
        embed(encode_image=3, encode_text=text_rows, data=pairs)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="encode_text must be a function"):
        embed(encode_text="text_rows", data=pairs)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "shown"), [(1e300, "1e\\+300"), (1e-300, "1e-300")])
@pytest.mark.parametrize("as_rows", [np.asarray, torch.tensor])
def test_float64_that_float32_cannot_hold_is_said_to_be_that(
    pairs: Any, value: float, shown: str, as_rows: Any
) -> None:
    with pytest.raises(InputError, match=f"of images it gave {shown}, which float32 cannot hold: divide its rows"):
        embed(encode_image=lambda images: as_rows(np.full((len(images), 48), value)), encode_text=text_rows, data=pairs)


@pytest.mark.parametrize("with_model", [TinyEncoder(), "ViT-B/32", "demo"])
def test_a_model_and_functions_are_two_encoders(pairs: Any, with_model: Any) -> None:
    with pytest.raises(InputError, match="leave one out"):
        embed(with_model, pairs, encode_image=image_rows, encode_text=text_rows)


@pytest.mark.parametrize(
    ("model", "own"), [("demo", {"name": "v1"}), (TinyEncoder(), {"name": "v1"}), (TinyEncoder(), {"logit_scale": 3.0})]
)
def test_a_name_and_a_scale_are_of_encoders_of_your_own(pairs: Any, model: Any, own: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(own))):
        embed(model, pairs, **own)


def raises(texts: list[str] | None = None, images: list[Image] | None = None) -> Any:
    raise KeyError("no such\nword")


def test_an_error_of_the_function_names_file_and_line(pairs: Any, tmp_path: Path) -> None:
    line = raises.__code__.co_firstlineno + 1
    with pytest.raises(
        GeomclipError, match=rf"test_custom\.py:{line}: KeyError: .* \(in .*raises on 1 image\)$"
    ) as said:
        embed(raises, pairs, cache_dir=tmp_path)
    assert isinstance(said.value.__cause__, KeyError)


def deep(texts: list[str] | None = None, images: list[Image] | None = None) -> Any:
    return json.loads("{")


def test_the_line_is_that_of_the_callers_own_file_not_of_a_package_that_it_calls(pairs: Any, tmp_path: Path) -> None:
    line = deep.__code__.co_firstlineno + 1
    with pytest.raises(GeomclipError, match=rf"test_custom\.py:{line}: JSONDecodeError: Expecting"):
        embed(deep, pairs, cache_dir=tmp_path)


# ------------------------------------------------------------------------------------------------- cache, stores, names


def test_without_a_name_nothing_is_kept_and_a_note_says_so(pairs: Any, tmp_path: Path) -> None:
    own = Own()
    found = embed(own, pairs, cache_dir=tmp_path / "cache")
    first = len(own.calls)
    embed(own, pairs, cache_dir=tmp_path / "cache")
    assert len(own.calls) == 2 * first
    assert not (tmp_path / "cache" / "embeddings").exists()
    assert "without a name: its rows are neither kept in the cache nor gone on with" in found.made_from["notes"][-1]


def test_under_a_name_rows_are_encoded_once(pairs: Any, tmp_path: Path) -> None:
    own = Own()
    found = embed(own, pairs, name="v1", cache_dir=tmp_path)
    own.calls.clear()
    again = embed(own, pairs, name="v1", cache_dir=tmp_path)
    assert own.calls == [1, 1]  # it is asked for two rows, to see that it is the same
    assert torch.equal(again.image, found.image)
    assert found.made_from["encoder_name"] == "v1"
    own.calls.clear()
    embed(own, pairs, name="v2", cache_dir=tmp_path)
    assert own.calls != [1, 1]


@pytest.mark.parametrize("changed", ["image", "text"])
def test_another_encoder_under_a_name_is_refused(pairs: Any, tmp_path: Path, changed: str) -> None:
    embed(Own, pairs, name="v1", cache_dir=tmp_path)

    class Other(Own):
        pass

    setattr(Other, f"encode_{changed}", lambda self, x: getattr(Own, f"encode_{changed}")(self, x)[:, ::-1].copy())
    Other.__module__, Other.__qualname__ = Own.__module__, Own.__qualname__
    with pytest.raises(InputError, match=r"other rows of the same input under the name 'v1' .* give it another name"):
        embed(Other, pairs, name="v1", cache_dir=tmp_path)


def test_other_pictures_under_a_name_are_encoded_not_refused(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path / "images", 12)
    embed(Own, pairs, name="v1", cache_dir=tmp_path / "cache")
    first = tmp_path / "images" / "000.png"
    first.write_bytes((tmp_path / "images" / "005.png").read_bytes())
    found = embed(Own, pairs, name="v1", cache_dir=tmp_path / "cache")
    assert torch.allclose(found.image, from_pictures(pairs), atol=1e-6)


def test_a_stopped_extraction_goes_on_under_its_name_alone(pairs: Any, tmp_path: Path) -> None:
    class Stops(Own):
        def encode_image(self, pictures: list[Image]) -> NDArray[np.float32]:
            if sum(self.calls) > 12:
                raise KeyboardInterrupt
            return super().encode_image(pictures)

    how: dict[str, Any] = {"batch_size": 4, "shard_rows": 4}
    with pytest.raises(KeyboardInterrupt, match="1 of 3 shards"):
        extract(taken(Stops(), what="mine", name="v1"), pairs, tmp_path / "out", **how)
    with pytest.raises(InputError, match="an encoder of your own that has no name may be another now"):
        extract(taken(Own(), what="mine"), pairs, tmp_path / "out", **how)
    with command_line(), pytest.raises(InputError, match="version it is by --encoder-name, or name a new folder"):
        extract(taken(Own(), what="mine"), pairs, tmp_path / "out", **how)
    own = Own()
    found = load(extract(taken(own, what="mine", name="v1"), pairs, tmp_path / "out", **how))
    assert torch.allclose(found.image, from_pictures(pairs), atol=1e-6)
    whole = load(extract(taken(Own(), what="mine", name="v1"), pairs, tmp_path / "whole", **how))
    assert torch.equal(found.image, whole.image)
    assert torch.equal(found.text, whole.text)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InputError, match="name is empty"):
        taken(both, name=" ")


# -------------------------------------------------------------------------------------------------- by the command line

CODE = """
import numpy as np

def image(pictures):
    return np.stack([np.asarray(each.resize((4, 4)), dtype=np.float32).ravel() / 255 - 0.4 for each in pictures])

def text(texts):
    return np.stack([np.random.default_rng(list(each.encode())).standard_normal(48) for each in texts])

def encode(images=None, texts=None):
    return text(texts) if images is None else image(images)

class Encoder:
    def encode_image(self, pictures):
        return image(pictures)

    def encode_text(self, texts):
        return text(texts)

made = Encoder()

def broken(images=None, texts=None):
    return {}["x"]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine_for_test.py").write_text(CODE)
    folder_of_pairs(tmp_path / "pictures", 8)
    yield tmp_path
    for name in [name for name in sys.modules if name.endswith("_for_test")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["encode", "Encoder", "made", "Encoder.__call__.__self__"])
@pytest.mark.parametrize("place", ["mine_for_test", "mine_for_test.py", "./mine_for_test.py"])
def test_code_is_found_by_module_and_by_file(here: Path, place: str, name: str) -> None:
    found = taken(located(f"{place}:{name}"))
    assert isinstance(found, FunctionEncoder)
    assert found.encode("text", ["a"]).shape == (1, 48)


def test_measure_prints_the_panel_of_named_code(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--data", "folder:pictures", "--bootstrap", 0, "--json", "--cache-dir", "cache")
    done = run_cli(capsys, "measure", "--encoder", "mine_for_test.py:encode", *common)
    assert done.code == 0, done.err
    panel = json.loads(done.out)
    assert (panel["model"], panel["dim"], panel["logit_scale_source"]) == ("mine_for_test.py:encode", 48, "assumed")
    side = run_cli(capsys, "measure", "--model", "encoder:mine_for_test.py:encode", *common)
    assert json.loads(side.out)["features_sha256"] == panel["features_sha256"]


def test_compare_takes_code_as_a_side(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--data", "folder:pictures", "--bootstrap", 0, "--cache-dir", "cache", "--quiet")
    done = run_cli(capsys, "compare", "encoder:mine_for_test.py:encode", "encoder:mine_for_test:made", *common)
    assert done.code == 0, done.err
    assert done.out.startswith("verdict")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--encoder", "mine_for_test"), 2, "--encoder mine_for_test: write MODULE:NAME or FILE.py:NAME"),
        (("--encoder", "mine_for_test:encod"), 2, "mine_for_test has no 'encod': did you mean encode"),
        (("--encoder", "mine_for_test:nump"), 2, "mine_for_test has no 'nump'\n"),
        (("--encoder", "no_such_module_here:f"), 2, "no module 'no_such_module_here' in this folder"),
        (("--encoder", "no/such/file.py:f"), 2, "no such file no/such/file.py"),
        (("--encoder", "wrong.py:f"), 2, "wrong.py:2: SyntaxError: "),
        (("--encoder", "needs.py:f"), 2, "needs.py:1: ModuleNotFoundError: No module named 'not_there_at_all'"),
        (
            ("--encoder", "mine_for_test.py:broken"),
            1,
            "mine_for_test.py:23: KeyError: 'x' (in mine_for_test.py:broken on",
        ),
        (("--encoder", "mine_for_test.py:encode", "--model", "demo"), 2, "--encoder is in place of a model"),
        (("--encoder-name", "v1"), 2, "--encoder-name is of your own code: name it with --encoder"),
        (
            ("--encoder", "mine_for_test.py:encode", "--pretrained", "x"),
            2,
            "--pretrained x has no meaning for encoder:",
        ),
        (("--encoder", "mine_for_test.py:encode", "--precision", "bf16"), 2, "--precision bf16 has no meaning"),
        (("--encoder", "mine_for_test.py:encode", "--embeddings", "x.npz"), 2, "leave out --encoder"),
    ],
)
def test_named_code_that_cannot_be_used_is_refused_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    (here / "wrong.py").write_text("x = 1\ndef f(:\n")
    (here / "needs.py").write_text("import not_there_at_all\n")
    data = () if "--embeddings" in arguments else ("--data", "folder:pictures", "--cache-dir", "cache")
    assert_one_line(run_cli(capsys, "measure", *arguments, *data), code, message)


def test_debug_shows_the_traceback_of_named_code(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_cli(capsys, "measure", "--encoder", "mine_for_test.py:broken", "--data", "folder:pictures", "--debug")
    assert done.code == 1
    assert 'return {}["x"]' in done.err


@pytest.mark.parametrize(
    "command", [("finetune", "--model", "encoder:a:b"), ("export", "st:x", "--to", "hf", "--out", "o")]
)
def test_what_is_no_model_of_open_clip_is_neither_trained_nor_exported(
    here: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert_one_line(run_cli(capsys, *command), 2, "it can be measured, not trained or exported")


def test_a_file_is_run_once_until_it_changes(here: Path) -> None:
    assert located("mine_for_test.py:made") is located("mine_for_test.py:made")
    with pytest.raises(NotAvailableError):
        located("another_for_test.py:made")
