"""Flickr8k and Flickr30k in the files of their authors, of the hub and of Kaggle."""

import re
from pathlib import Path

import pytest
from pair_files import jpeg, write

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.pairs import Source, load_pairs

NAMES = ["10_a.jpg", "11_b.jpg", "12_c.jpg", "13_d.jpg", *(f"{n}_f.jpg" for n in range(20, 30)), "14_e.jpg.1"]
TOKENS = "".join(f'{name}#{n}\tA "dog" , number {n} of {name} .\n' for name in NAMES for n in range(5))
LISTS = {
    "Flickr_8k.trainImages.txt": "11_b.jpg\n10_a.jpg\n",
    "Flickr_8k.devImages.txt": "12_c.jpg\n",
    "Flickr_8k.testImages.txt": "13_d.jpg \n\n" + "".join(f"{name}\n" for name in NAMES[4:-1]),
}


def photos(folder: Path, names: list[str] = NAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(jpeg())


@pytest.mark.parametrize("inner", ["", "Flickr8k_text/"])
@pytest.mark.parametrize("at", ["Flicker8k_Dataset", "Flicker8k_Dataset/Flicker8k_Dataset", "Images"])
def test_flickr8k_of_its_authors_has_the_splits_of_their_lists(tmp_path, inner, at):
    photos(tmp_path / at)
    write(tmp_path, {f"{inner}Flickr8k.token.txt": TOKENS} | {f"{inner}{name}": text for name, text in LISTS.items()})
    pairs = load_pairs(Source("flickr8k", data_root=tmp_path))
    assert (pairs.name, pairs.split, [pair.image_id for pair in pairs.pairs]) == ("flickr8k", "test", NAMES[3:-1])
    assert pairs.pairs[0].captions == tuple(f'A "dog" , number {n} of 13_d.jpg .' for n in range(5))
    assert pairs.pairs[0].image.read() == jpeg()
    assert [pair.image_id for pair in load_pairs(Source("flickr8k", "train", tmp_path)).pairs] == NAMES[1::-1]
    assert [pair.image_id for pair in load_pairs(Source("flickr8k", "val", tmp_path)).pairs] == ["12_c.jpg"]
    (left_out,) = pairs.read.left_out
    assert (left_out.what, left_out.count, left_out.names) == ("images", 1, ("14_e.jpg.1",))
    with pytest.raises(InputError, match="no split 'dev2'; it has train, val, test"):
        load_pairs(Source("flickr8k", "dev2", tmp_path))


def test_an_image_of_a_list_without_captions_is_counted(tmp_path):
    photos(tmp_path / "Images")
    write(tmp_path, {"Flickr8k.token.txt": TOKENS, "Flickr_8k.testImages.txt": "10_a.jpg\n99_z.jpg\n"})
    pairs = load_pairs(Source("flickr8k", data_root=tmp_path))
    assert [pair.image_id for pair in pairs.pairs] == ["10_a.jpg"]
    assert ("images", 1, ("99_z.jpg",)) in [(each.what, each.count, each.names) for each in pairs.read.left_out]


def test_flickr8k_of_kaggle_is_all_images_and_says_so(tmp_path):
    photos(tmp_path / "Images", NAMES[:2])
    write(tmp_path, {"captions.txt": 'image,caption\n10_a.jpg,"A dog , a cat ."\n10_a.jpg,Two .\n11_b.jpg,Three .\n'})
    pairs = load_pairs(Source("flickr8k", data_root=tmp_path))
    assert {pair.image_id: pair.captions for pair in pairs.pairs} == {
        "10_a.jpg": ("A dog , a cat .", "Two ."),
        "11_b.jpg": ("Three .",),
    }
    assert pairs.split == "all"
    assert any("these are all images" in line for line in pairs.read.how)
    with pytest.raises(InputError, match="no splits"):
        load_pairs(Source("flickr8k", "test", tmp_path))


FLICKR30K = {
    "results_20130124.token": "10_a.jpg#0\tOne .\n10_a.jpg#1\tTwo .\n11_b.jpg#0\tThree .\n",
    "flickr30k_images/results.csv": "image_name| comment_number| comment\n10_a.jpg| 0| One .\n10_a.jpg| 1| Two .\n"
    "11_b.jpg| 0| Three .\n",
    "flickr_annotations_30k.csv": "raw,sentids,split,filename,img_id\n"
    '"[""One ."", ""Two .""]","[0, 1]",test,10_a.jpg,0\n'
    '"[""Three .""]","[5]",test,11_b.jpg,1\n"[""Four .""]","[6]",train,12_c.jpg,2\n',
}


@pytest.mark.parametrize("file", FLICKR30K)
@pytest.mark.parametrize("at", ["flickr30k-images", "flickr30k_images/flickr30k_images"])
def test_flickr30k_is_read_from_any_of_its_files(tmp_path, file, at):
    photos(tmp_path / at)
    write(tmp_path, {file: FLICKR30K[file]})
    pairs = load_pairs(Source("flickr30k", data_root=tmp_path))
    assert {p.image_id: p.captions for p in pairs.pairs} == {"10_a.jpg": ("One .", "Two ."), "11_b.jpg": ("Three .",)}
    assert pairs.split == ("test" if "annotations" in file else "all")
    assert pairs.pairs[0].image.read() == jpeg()


def test_captions_without_photos_say_where_the_photos_belong(tmp_path):
    write(tmp_path, {"captions.txt": "image,caption\n10_a.jpg,One\n"})
    with pytest.raises(NotAvailableError, match="photos of flickr8k are not at ") as raised:
        load_pairs(Source("flickr8k", data_root=tmp_path))
    advice = re.search(r"not at (.*): place them there", str(raised.value))
    photos(Path(advice[1]))
    assert len(load_pairs(Source("flickr8k", data_root=tmp_path))) == 1
