"""simat: arithmetic by loops, files in the official format with a known answer, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, assert_one_line, run_cli, shared
from PIL import Image
from safetensors.torch import save_file

import geomclip as gc
from geomclip.evaluations import arithmetic, simat_files
from geomclip.evaluations.asked import Simat
from geomclip.evaluations.simat import SWEEP
from geomclip.evaluations.simat_space import space_of
from geomclip.evaluations.subject import Subject
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT

SUBJECTS, OBJECTS = ("cat", "dog", "man"), ("bed", "boat", "car", "sofa")
TRIPLETS = [(subject, thing) for subject in SUBJECTS for thing in OBJECTS]


def rows_of(seed: int, *shape: int) -> torch.Tensor:
    rows = torch.from_numpy(np.random.default_rng(seed).normal(size=shape))
    return rows / rows.norm(dim=1, keepdim=True)


def queries() -> list[dict[str, object]]:
    """Every image with every other object and subject; each third query is of test."""
    found: list[dict[str, object]] = []
    for number, (subject, thing) in enumerate(TRIPLETS):
        changes = [("obj", thing, other, TRIPLETS.index((subject, other))) for other in OBJECTS if other != thing]
        changes += [("subj", subject, other, TRIPLETS.index((other, thing))) for other in SUBJECTS if other != subject]
        for field, value, target, wanted in changes:
            row = {"transfo_id": len(found), "region_id": 700 + number, "field": field, "value": value}
            row |= {"target": target, "norm": 1, "query_ids": number, "target_ids": wanted, "dataset_id": 11 - number}
            found.append(row | {"norm2": 1 + number * len(found) % 7, "is_test": len(found) % 3 == 0})
    return found


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["", *rows[0]])
        writer.writeheader()
        writer.writerows({"": number, **row} for number, row in enumerate(rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """SIMAT in small: rows of images are the sums of their words, which are orthogonal; dataset_id runs backwards."""
    database, data = tmp_path / "simat_db", tmp_path / "data"
    database.mkdir(), data.mkdir()
    write_table(database / "transfos.csv", queries())
    triplets = [
        {"region_id": 700 + number, "subj": subject, "rel": "on", "obj": thing, "dataset_id": 11 - number}
        for number, (subject, thing) in enumerate(TRIPLETS)
    ]
    write_table(database / "triplets.csv", triplets)
    (database / "captions.txt").write_text("".join(f"A {subject} on a {thing}.\n" for subject, thing in TRIPLETS))
    words = [*SUBJECTS, *OBJECTS]
    vector = dict(zip(words, torch.eye(len(words)), strict=True))
    torch.save({word: 3 * row for word, row in vector.items()}, data / "simat_words_clip.pt")
    images = {700 + number: vector[subject] + vector[thing] for number, (subject, thing) in enumerate(TRIPLETS)}
    torch.save(images, data / "simat_img_clip.pt")
    torch.save(torch.eye(len(TRIPLETS)).flip(0) * 0.9, database / "oscar_similarity_matrix.pt")
    return tmp_path


def evaluated(folder: Path, **options: object) -> gc.Panel:
    return gc.evaluate("simat", simat=str(folder), **({"simat_vectors": "folder"} | options))


def test_a_space_in_which_arithmetic_holds_has_every_success(folder: Path) -> None:
    panel = evaluated(folder)
    assert panel["simat_success"] == 1
    assert panel.null["simat_success"] < 0.7
    assert panel["simat_word_acc1"] == 1
    assert (panel.made_from["dataset"], panel.made_from["split"], panel.n_images) == ("SIMAT", "dev", 7)


def test_success_is_the_share_by_weight_of_queries_whose_image_oscar_accepts(folder: Path) -> None:
    oscar = torch.from_numpy(np.random.default_rng(4).random((12, 12)))
    torch.save(oscar, folder / "simat_db" / "oscar_similarity_matrix.pt")
    rng = np.random.default_rng(5)
    vectors = {700 + number: torch.from_numpy(rng.normal(size=7)) for number in range(12)}
    torch.save(vectors, folder / "data" / "simat_img_clip.pt")
    words = {word: torch.from_numpy(rng.normal(size=7)) for word in (*SUBJECTS, *OBJECTS)}
    torch.save(words, folder / "data" / "simat_words_clip.pt")
    panel = evaluated(folder, domain="test", lam=0.7)

    def unit(row: torch.Tensor) -> torch.Tensor:
        return row / row.norm()

    def success(lam: float) -> float:
        right, all_of_them = 0.0, 0.0
        for row in (row for row in queries() if row["is_test"]):
            moved = unit(vectors[row["region_id"]]) + lam * (unit(words[row["target"]]) - unit(words[row["value"]]))
            cosines = {region: float(moved @ unit(x)) for region, x in vectors.items() if region != row["region_id"]}
            nearest = max(cosines, key=lambda region: cosines[region])
            weight = row["norm2"] ** -0.5
            right += weight * (float(oscar[11 - (nearest - 700), row["target_ids"]]) > 0.5)
            all_of_them += weight
        return right / all_of_them

    assert panel["simat_success"] == pytest.approx(success(0.7))
    assert panel.curves["simat_lambda"]["simat_success"] == pytest.approx([success(lam) for lam in SWEEP])
    assert panel["simat_success_max"] == max(panel.curves["simat_lambda"]["simat_success"])
    assert "simat_success_max" not in panel.ci
    assert "upper bound" in panel.notes["simat_success_max"]
    assert panel.no_interval["simat_success"] == "fewer than 20 images (7)"


def test_the_interval_of_success_is_that_of_a_weighted_share_whose_units_are_targets(folder: Path) -> None:
    oscar = torch.from_numpy(np.random.default_rng(4).random((12, 12)))
    torch.save(oscar, folder / "simat_db" / "oscar_similarity_matrix.pt")
    panel = evaluated(folder)
    moved = dict.fromkeys(panel.items["image"]["image_id"], 0.0)
    asked = [row for row in queries() if not row["is_test"]]
    total = sum(row["norm2"] ** -0.5 for row in asked)
    for row in asked:
        # the image that arithmetic finds is that of the wanted caption
        right = float(oscar[11 - row["target_ids"], row["target_ids"]]) > 0.5
        part = row["norm2"] ** -0.5 / total * (right - panel["simat_success"])
        moved[f"{row['field']}: {row['target']}"] += part
    expected = [each * (7 / 6) ** 0.5 for each in moved.values()]
    assert panel.items["image"]["influence.simat_success"] == pytest.approx(expected)


def test_ranks_are_those_of_a_loop() -> None:
    points, candidates = rows_of(0, 9, 5), rows_of(1, 6, 5)
    own, wanted = torch.arange(9) % 6, (torch.arange(9) + 2) % 6
    for row, rank in enumerate(arithmetic.ranks(points, candidates, own, wanted).tolist()):
        cosines = [(float(points[row] @ each), place) for place, each in enumerate(candidates) if place != own[row]]
        order = [place for _, place in sorted(cosines, reverse=True)]
        assert rank == 1 + order.index(int(wanted[row]))


def test_a_space_in_one_point_finds_nothing() -> None:
    same = torch.ones(4, 3, dtype=torch.float64)
    assert arithmetic.ranks(same, same, torch.arange(4), (torch.arange(4) + 1) % 4).tolist() == [3] * 4


def test_differences_to_one_target_are_compared_and_carried_as_by_loops() -> None:
    words = rows_of(2, 6, 4)
    value, target, of = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([4, 4, 4, 5, 5]), torch.tensor([0, 0, 0, 1, 1])
    delta = words[target] - words[value]
    for row in range(5):
        others = [other for other in range(5) if other != row and of[other] == of[row]]
        cosines = [float(torch.cosine_similarity(delta[row], delta[other], dim=0)) for other in others]
        assert float(arithmetic.parallel(words, value, target, of)[row]) == pytest.approx(np.mean(cosines))
        mean = delta[others].mean(0)
        torch.testing.assert_close(arithmetic.carried(words, value, target, of)[row], mean)
    alone = arithmetic.parallel(words, value[:1], target[:1], of[:1])
    assert bool(alone.isnan().all())


def test_shuffled_pairs_stay_in_their_field() -> None:
    fields = torch.tensor([0, 1, 0, 1, 1, 0, 0])
    order = arithmetic.shuffled(fields, torch.Generator().manual_seed(1))
    assert sorted(order.tolist()) == list(range(7))
    assert fields[order].tolist() == fields.tolist()
    assert order.tolist() != list(range(7))


def test_words_of_real_clip_vectors_are_read_by_their_names(folder: Path) -> None:
    (folder / "data" / "simat_words_clip.pt").unlink()
    words = [*SUBJECTS, *OBJECTS][::-1]
    (folder / "words.json").write_text(json.dumps({"words": words}))
    np.save(folder / "words_clip_fp32.npy", np.arange(28, dtype=np.float32).reshape(7, 4) + 1)
    found = simat_files.read_words(folder, ["cat", "sofa"])
    assert found.tolist() == [[25, 26, 27, 28], [1, 2, 3, 4]]


def test_images_come_from_npz_too(folder: Path) -> None:
    (folder / "data" / "simat_img_clip.pt").unlink()
    region = np.arange(711, 699, -1)
    rows = np.stack([np.eye(7)[SUBJECTS.index(s)] + np.eye(7)[3 + OBJECTS.index(o)] for s, o in TRIPLETS])
    np.savez(folder / "simat_img_clip.npz", region_id=region, image=rows[region - 700])
    assert evaluated(folder)["simat_success"] == 1


def test_an_encoder_encodes_pictures_captions_and_words(folder: Path, tmp_path: Path) -> None:
    pictures = folder / "simat_db" / "images" / "images"
    pictures.mkdir(parents=True)
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{700 + number}.png")
    panel = gc.evaluate("simat", simat=str(folder), cache_dir=tmp_path / "cache")
    assert 0 <= panel["simat_success"] <= 1
    assert 1 <= panel["simat_caption_rank"] <= 11
    assert set(panel.curves["simat_lambda"]) == {"lambda", "simat_success", "simat_caption_acc1", "simat_word_acc1"}
    assert gc.compare(panel, panel)["simat_caption_acc1"].verdict == "same"
    (pictures / "705.png").unlink()
    with pytest.raises(InputError, match="1 of 12 pictures are missing or cannot be read: 705"):
        gc.evaluate("simat", simat=str(folder), cache_dir=tmp_path / "cache")


def test_captions_are_ranked_as_by_a_loop(folder: Path) -> None:
    (folder / "data" / "simat_img_clip.pt").unlink()

    class Letters:
        """An encoder of texts: counts of letters."""

        def encode_text(self, texts: list[str]) -> np.ndarray:
            return np.array([[text.lower().count(each) + 0.1 for each in "abcdefgmnorstu"] for text in texts])

        def encode_image(self, images: list[object]) -> np.ndarray:
            return np.ones((len(images), 14))

    panel = gc.evaluate("simat", Letters(), simat=str(folder), name="letters")

    def row(text: str) -> np.ndarray:
        found = Letters().encode_text([text])[0].astype(np.float32).astype(np.float64)
        return found / np.linalg.norm(found)

    captions = [row(f"A {subject} on a {thing}.") for subject, thing in TRIPLETS]
    ranks: dict[tuple[str, str], list[int]] = {}
    for query in (query for query in queries() if not query["is_test"]):
        moved = captions[query["query_ids"]] + row(query["target"]) - row(query["value"])
        scores = [float(moved @ each) for each in captions]
        wanted = scores[query["target_ids"]]
        rank = sum(score >= wanted - 1e-12 for place, score in enumerate(scores) if place != query["query_ids"])
        ranks.setdefault((query["field"], query["target"]), []).append(rank)
    assert panel["simat_caption_rank"] == pytest.approx(np.mean([np.mean(each) for each in ranks.values()]), abs=0.1)
    assert panel.warnings == [f"no OSCAR success: missing in {folder.name}: simat_db/images"]


def mixed(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(7, 7)))


@pytest.mark.parametrize("form", ["nested.pt", "flat.pt", "h.npz", "h.safetensors"])
def test_heads_put_right_what_was_mixed_and_shifted_before_rows_are_made_unit(folder: Path, form: str) -> None:
    how, of_dev = {"simat": str(folder), "simat_vectors": "folder"}, simat_files.read_queries(folder, "dev")
    before = space_of(Subject(), Simat(**how), folder, of_dev, SILENT)[0]
    heads = {}
    for name, file, seed in (("img_head", "simat_img_clip.pt", 1), ("txt_head", "simat_words_clip.pt", 2)):
        path = folder / "data" / file
        rows = torch.load(path)
        torch.save({key: mixed(seed) @ (row.double() + 2) for key, row in rows.items()}, path)
        heads[name] = {"weight": mixed(seed).inverse(), "bias": torch.full((7,), -2, dtype=torch.float64)}
    flat = {f"{name}.{part}": each.contiguous() for name, head in heads.items() for part, each in head.items()}
    path = folder / form
    if form == "h.npz":
        np.savez(path, **{name: each.numpy() for name, each in flat.items()})
    elif form == "h.safetensors":
        save_file(flat, path)
    else:
        torch.save(heads if form == "nested.pt" else flat, path)
    after = space_of(Subject(), Simat(**how, simat_heads=str(path)), folder, of_dev, SILENT)[0]
    torch.testing.assert_close((after.words, after.images), (before.words, before.images))
    assert evaluated(folder)["simat_success"] < 0.9
    panel = evaluated(folder, simat_heads=str(path))
    assert panel["simat_success"] == 1
    assert panel["simat_word_acc1"] == 1
    assert panel.params["simat_heads"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_heads_move_the_captions_and_words_of_a_model(folder: Path) -> None:
    rng = np.random.default_rng(3)
    weight = {f"{name}.weight": rng.normal(size=(9, 128)) for name in ("img_head", "txt_head")}
    np.savez(folder / "h.npz", **weight)
    queries_of_dev = simat_files.read_queries(folder, "dev")
    how = {"simat": str(folder), "simat_heads": str(folder / "h.npz")}
    space = space_of(Subject(), Simat(**how), folder, queries_of_dev, SILENT)[0]
    plain = space_of(Subject(), Simat(simat=str(folder)), folder, queries_of_dev, SILENT)[0]
    for moved, rows in ((space.words, plain.words), (space.captions, plain.captions)):
        expected = rows.numpy() @ weight["txt_head.weight"].T
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(moved.numpy(), expected, atol=1e-9)


ONE = np.ones((3, 7))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"img_head.weight": ONE}, "h.npz has no txt_head.weight"),
        ({"img_head.weight": ONE[0], "txt_head.weight": ONE}, "img_head has (7,); a matrix and as long a bias"),
        (
            {"img_head.weight": ONE, "img_head.bias": np.ones(4), "txt_head.weight": ONE},
            "img_head has (3, 7) and (4,); a matrix",
        ),
        ({"img_head.weight": ONE, "txt_head.weight": ONE[:2]}, "img_head gives 3 dimensions, txt_head 2"),
        ({"img_head.weight": ONE, "txt_head.weight": ONE * np.nan}, "txt_head holds numbers that are not finite"),
        ({"img_head.weight": ONE, "txt_head.weight": ONE[:, :6]}, "rows of texts have 7 dimensions, the head takes 6"),
        ({"x": ONE}, "needed: img_head.weight and txt_head.weight"),
    ],
)
def test_heads_that_cannot_be_are_one_line(
    capsys: pytest.CaptureFixture[str], folder: Path, content: dict[str, np.ndarray], said: str
) -> None:
    np.savez(folder / "h.npz", **content)
    asked = ("evaluate", "--task", "simat", "--simat", folder, "--simat-vectors", "folder")
    assert_one_line(run_cli(capsys, *asked, "--simat-heads", folder / "h.npz"), 2, said)
    assert_one_line(run_cli(capsys, *asked, "--simat-heads", folder / "none.pt"), 2, "none.pt: no such file")


def test_modules_are_not_unpickled_and_a_bias_needs_rows_at_their_own_lengths(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    asked = ("evaluate", "--task", "simat", "--simat", folder, "--simat-heads", folder / "h.pt")
    torch.save({name: torch.nn.Linear(7, 7) for name in ("img_head", "txt_head")}, folder / "h.pt")
    assert_one_line(run_cli(capsys, *asked), 2, "holds modules, which could run code", "state_dict() for k, h in")
    (folder / "h.pt").write_bytes(b"nothing")
    assert_one_line(run_cli(capsys, *asked), 2, "h.pt holds no readable heads")
    pictures = folder / "simat_db" / "images"
    pictures.mkdir()
    for number in range(12):
        Image.new("RGB", (8, 8)).save(pictures / f"{700 + number}.png")
    heads = {name: torch.nn.Linear(128, 7).state_dict() for name in ("img_head", "txt_head")}
    torch.save(heads, folder / "h.pt")
    assert_one_line(run_cli(capsys, *asked), 2, "its img_head has a bias, which is of rows at their own lengths")


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("simat_db/transfos.csv", "transfos.csv is missing"),
        ("data/simat_words_clip.pt", "holds no vectors of words"),
    ],
)
def test_files_without_which_nothing_can_be_asked_are_named(
    capsys: pytest.CaptureFixture[str], folder: Path, gone: str, said: str
) -> None:
    (folder / gone).unlink()
    done = run_cli(capsys, "evaluate", "--task", "simat", "--simat", folder, "--simat-vectors", "folder")
    assert_one_line(done, 2, said)


@pytest.mark.parametrize(
    "gone", ["simat_db/oscar_similarity_matrix.pt", "simat_db/triplets.csv", "data/simat_img_clip.pt"]
)
def test_files_partly_present_leave_words_and_are_named(folder: Path, gone: str) -> None:
    (folder / gone).unlink()
    panel = evaluated(folder)
    assert panel["simat_success"] is None
    assert panel.warnings == [f"no OSCAR success: missing in {folder.name}: {Path(gone).name}"]
    assert panel["simat_word_acc1"] == 1


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("simat_db/transfos.csv", "a,b\n1,2\n", "has no column region_id, field"),
        ("data/simat_img_clip.pt", {700: torch.ones(7)}, "lacks 11 of 12 images: 711, 710, 709, 708 and 7 more"),
        ("data/simat_words_clip.pt", {"cat": torch.ones(7)}, "lacks 6 of 7 words: bed, boat, car, dog and 2 more"),
        ("data/simat_img_clip.pt", {700 + n: torch.ones(5) for n in range(12)}, "5 dimensions, those of words have 7"),
        ("data/simat_img_clip.pt", {700 + n: torch.zeros(7) for n in range(12)}, "the vector of 711 is zero"),
        ("simat_db/oscar_similarity_matrix.pt", torch.ones(3, 4), "12 images by at least 12 captions are meant"),
        ("simat_db/oscar_similarity_matrix.pt", torch.full((12, 12), torch.nan), "numbers that are not finite"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    capsys: pytest.CaptureFixture[str], folder: Path, file: str, content: object, said: str
) -> None:
    if isinstance(content, str):
        (folder / file).write_text(content)
    else:
        torch.save(content, folder / file)
    done = run_cli(capsys, "evaluate", "--task", "simat", "--simat", folder, "--simat-vectors", "folder")
    assert_one_line(done, 2, said)


def test_a_row_that_is_none_is_named_by_its_line(folder: Path) -> None:
    path = folder / "simat_db" / "transfos.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4].replace("subj", "subject"), *lines[5:]]))
    with pytest.raises(InputError, match=r"transfos.csv, line 5: no row of SIMAT"):
        evaluated(folder)


def test_python_objects_are_not_unpickled(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    torch.save({"cat": Path("x")}, folder / "data" / "simat_words_clip.pt")
    done = run_cli(capsys, "evaluate", "--task", "simat", "--simat", folder, "--simat-vectors", "folder")
    assert done.code == 2
    assert "simat_words_clip.pt" in done.err


def test_without_a_folder_the_task_does_not_apply(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_cli(capsys, "evaluate", "--task", "simat")
    assert_one_line(done, 2, "simat: it needs SIMAT's files: name their folder with --simat")


def test_the_page_prints_what_the_command_prints_of_the_real_files(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_cli(capsys, "evaluate", "--task", "simat", "--simat", shared("data/simat"))
    page = (ROOT / "docs" / "evaluations.md").read_text(encoding="utf-8")
    block = page.partition("$ geomclip evaluate --task simat --simat simat\n")[2].partition("```")[0]
    rows = [line for line in block.splitlines() if line.endswith(("captions", "words")) or " to " in line]
    assert len(rows) == 6
    assert set(rows) <= set(done.out.splitlines())
