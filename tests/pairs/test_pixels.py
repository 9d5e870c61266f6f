"""CIFAR's binary files and .npz of images: the pixels that were written come back, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geomclip.machine.errors import InputError
from geomclip.pairs import Pair, Source, load_pairs
from geomclip.pairs.images import decode

TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pixels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def cifar10(root: Path, images: np.ndarray, labels: list[int], name: str = "test_batch.bin") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    rows = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, images, strict=True)]
    (root / name).write_bytes(b"".join(rows))
    (root / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    return root


def seen(pair: Pair) -> np.ndarray:
    return np.asarray(decode(pair.image.read(), name="x"))


def assert_refused(data: str, match: str, split: str | None = None) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_pairs(Source(data, split=split))
    assert "\n" not in str(caught.value)


def test_cifar_10_comes_back_pixel_for_pixel_with_its_names(tmp_path: Path) -> None:
    images = pixels(4)
    cifar10(tmp_path / "cifar-10-batches-bin", images, [3, 0, 9, 3])
    pairs = load_pairs(Source(f"cifar-bin:{tmp_path}"))
    assert pairs.split == "test"
    assert pairs.classes == TEN
    assert [pair.label for pair in pairs.pairs] == ["cat", "airplane", "truck", "cat"]
    for pair, image in zip(pairs.pairs, images, strict=True):
        assert np.array_equal(seen(pair), image)
    assert pairs.class_prompts is not None
    assert pairs.class_prompts[3] == ("a photo of a cat.",)


def test_cifar_100_has_its_fine_label_for_class_and_the_coarse_one_beside(tmp_path: Path) -> None:
    images = pixels(2)
    record = b"".join(bytes([1, 5]) + image.transpose(2, 0, 1).tobytes() for image in images)
    (tmp_path / "test.bin").write_bytes(record)
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"fine_{i}" for i in range(100)))
    (tmp_path / "coarse_label_names.txt").write_text("fish\nwater birds\n")
    pairs = load_pairs(Source(f"cifar-bin:{tmp_path}"))
    assert pairs.pairs[1].label == "fine 5"
    assert pairs.pairs[1].columns == (("coarse", "water birds"),)
    assert np.array_equal(seen(pairs.pairs[1]), images[1])


def test_the_train_files_of_cifar_10_are_one_split(tmp_path: Path) -> None:
    for number in range(1, 6):
        cifar10(tmp_path, pixels(2, number), [number, 0], f"data_batch_{number}.bin")
    pairs = load_pairs(Source(f"cifar-bin:{tmp_path}", split="train"))
    assert len(pairs) == 10
    assert pairs.pairs[8].image_id == "data_batch_5.bin/0"
    (tmp_path / "data_batch_2.bin").unlink()
    assert_refused(f"cifar-bin:{tmp_path}", "data_batch_2.bin is not in", split="train")


def test_what_is_wrong_with_cifar_files_is_one_line(tmp_path: Path) -> None:
    cifar10(tmp_path / "a", pixels(2), [3, 12])
    assert_refused(f"cifar-bin:{tmp_path / 'a'}", "test_batch.bin: the label of image 1 is 12, outside the 10 classes")
    (cifar10(tmp_path / "b", pixels(2), [3, 1]) / "test_batch.bin").write_bytes(b"\0" * 3072)
    assert_refused(f"cifar-bin:{tmp_path / 'b'}", "has 3072 bytes, not records of 3073")
    (cifar10(tmp_path / "c", pixels(2), [3, 1]) / "batches.meta.txt").unlink()
    assert_refused(f"cifar-bin:{tmp_path / 'c'}", "batches.meta.txt is not there")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "test_batch").write_bytes(b"")
    assert_refused(f"cifar-bin:{tmp_path / 'd'}", "pickles of the python version, which are never read")
    assert_refused(f"cifar-bin:{tmp_path / 'e'}", "is not there")


def arrays(file: Path, **named: np.ndarray) -> str:
    np.savez_compressed(file, **named)
    return f"npz:{file}"


def test_arrays_of_splits_come_back_pixel_for_pixel(tmp_path: Path) -> None:
    images = pixels(3)
    held = {"train_images": pixels(2), "train_labels": np.array([0, 1]), "test_images": images}
    data = arrays(tmp_path / "x.npz", **held, test_labels=np.array([[1], [0], [1]]), classes=np.array(["cat", "dog"]))
    pairs = load_pairs(Source(data))
    assert [pair.label for pair in pairs.pairs] == ["dog", "cat", "dog"]
    assert all(np.array_equal(seen(pair), image) for pair, image in zip(pairs.pairs, images, strict=True))
    assert len(load_pairs(Source(data, split="train"))) == 2


def test_grey_arrays_are_read_and_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    grey = np.arange(2 * 6, dtype=np.uint8).reshape(2, 2, 3)
    (tmp_path / "classnames.txt").write_text("one\ntwo\n")
    data = arrays(tmp_path / "x.npz", images=grey, labels=np.array([0, 1]))
    pair = load_pairs(Source(data)).pairs[1]
    picture = Image.open(io.BytesIO(pair.image.read()))
    assert picture.size == (3, 2)
    assert np.array_equal(np.asarray(picture), grey[1])
    arrays(tmp_path / "x.npz", images=grey + 100, labels=np.array([0, 1]), more=np.zeros(5))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(pair.image.read()))), grey[1] + 100)


@pytest.mark.parametrize(
    ("named", "match"),
    [
        ({"image": np.zeros((2, 3))}, "needed: images and labels"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, "has images but no labels"),
        ({"images": np.zeros((2, 4, 4, 3)), "labels": np.zeros(2, int)}, "should be uint8"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.zeros(3, int)}, "3 labels for 2 images"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(2)}, "should be whole numbers"),
        (
            {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, 2]), "classes": np.array(["a", "b"])},
            "the label of image 1 is 2, outside the 2 classes",
        ),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, 1])}, "numbers"),
        (
            {
                "images": np.zeros((2, 4, 4), np.uint8),
                "labels": np.array([0, 1]),
                "classes": np.array(["a", {}], dtype=object),
            },
            "never unpickled",
        ),
    ],
)
def test_what_is_wrong_with_arrays_is_one_line(tmp_path: Path, named: dict[str, np.ndarray], match: str) -> None:
    assert_refused(arrays(tmp_path / "x.npz", **named), match)
