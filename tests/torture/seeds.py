"""Small files of every kind that geomclip reads, made anew each time, and how each is read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers import picture, small_set
from pair_files import COCO, KARPATHY, jpeg, write, write_tar
from safetensors.torch import save_file

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """One kind of files: how they are made in a folder, and how that folder is read."""

    make: Callable[[Path], object]
    read: Read  # gives what must stay the same where the files have sums
    mutated: str = "*"  # which files are changed: a pattern of names
    summed: bool = False
    costs: float = 1.0  # about how many times as long as a small file takes


ROWS = [{"filepath": f"{i}.png", "title": f"number {i}", "label": "ab"[i % 2]} for i in range(4)]


def pictures(folder: Path) -> None:
    """What the rows of tables name."""
    for i in range(4):
        (folder / f"{i}.png").write_bytes(picture(i, (8, 6)))


def table(name: str) -> Callable[[Path], None]:
    """A table of pairs in the format of its name."""

    def make(folder: Path) -> None:
        pictures(folder)
        file = folder / name
        if file.suffix in (".csv", ".tsv"):
            with file.open("w", newline="") as out:
                writer = csv.DictWriter(out, list(ROWS[0]), delimiter="," if file.suffix == ".csv" else "\t")
                writer.writeheader()
                writer.writerows(ROWS)
        elif file.suffix == ".jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        elif file.suffix == ".json":
            file.write_text(json.dumps(ROWS))
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
            columns["image"] = [{"bytes": picture(i, (8, 6)), "path": None} for i in range(4)]
            pq.write_table(pa.table(columns), file)

    return make


def arrow(folder: Path) -> None:
    """What datasets' save_to_disk leaves."""
    import pyarrow as pa

    content = pa.table(
        {"image": [{"bytes": picture(i, (8, 6)), "path": None} for i in range(4)], "title": list("abcd")}
    )
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, content.schema) as out,
    ):
        out.write_table(content)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"image": {"_type": "Image"}}}))


def pairs(data: str, **source: Any) -> Read:
    """Read pairs and their first images."""

    def read(folder: Path) -> None:
        from geomclip.pairs import Source, load_pairs
        from geomclip.pairs.reading import value_or_reason

        named = {"data_root": folder} if ":" not in data else {}
        found = load_pairs(Source(data.replace("HERE", str(folder)), **named, **source))
        for pair in found.pairs[:2]:
            value_or_reason(pair.image.read, name=pair.image_id)

    return read


def beside(folder: Path) -> None:
    """Pictures with a text or JSON of their name."""
    pictures(folder)
    for i in range(4):
        content = json.dumps({"title": f"{i}", "caption": "a"}) if i % 2 else f"number {i}"
        (folder / f"{i}.{'json' if i % 2 else 'txt'}").write_text(content)


def tar(folder: Path) -> None:
    """A webdataset."""
    members: dict[str, bytes | str] = {}
    for i in range(3):
        members |= {f"{i}.jpg": jpeg(), f"{i}.txt": f"number {i}", f"{i}.json": json.dumps({"caption": "x", "n": i})}
    write_tar(folder / "pairs.tar", members)


def classes(folder: Path) -> None:
    """A folder of classes with names and templates."""
    for i, name in enumerate(("n01", "n02")):
        write(folder, {f"test/{name}/{i}.png": picture(i, (8, 6))})
    write(folder, {"classnames.txt": "cat\ndog\n", "templates.txt": "a {c}\n"})


ARRAYS = {"image": np.eye(5, 4, dtype=np.float32) + 0.1, "text": np.eye(5, 4, k=1, dtype=np.float32) + 0.2}


def vectors(name: str) -> Callable[[Path], object]:
    """Arrays of vectors in the format of its name."""

    def make(folder: Path) -> None:
        file = folder / name
        tensors = {key: torch.from_numpy(value) for key, value in ARRAYS.items()}
        if name.endswith(".npz"):
            np.savez(file, **ARRAYS)
        elif name.endswith(".npy"):
            np.save(file, ARRAYS["image"])
        elif name.endswith(".pt"):
            torch.save(tensors, file)
        elif name.endswith(".safetensors"):
            save_file(tensors, file)
        elif name.endswith(".h5"):
            import h5py

            with h5py.File(file, "w") as out:
                for key, value in ARRAYS.items():
                    out.create_dataset(key, data=value)
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({key: list(value) for key, value in ARRAYS.items()}), file)

    return make


def sha256(*values: object) -> str:
    """One digest of tensors and other values."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
    return digest.hexdigest()


def embeddings(name: str = "") -> Read:
    """Read a set of embeddings; all of it, as one digest."""

    def read(folder: Path) -> str:
        from geomclip.embeddings.store import load

        found = load(folder / name if name else folder)
        kept = {key: value for key, value in vars(found).items() if key != "made_from"}
        return sha256(*(value for _, value in sorted(kept.items())))

    return read


def saved(name: str) -> Callable[[Path], object]:
    """A set as geomclip saves it."""

    def make(folder: Path) -> None:
        from geomclip.embeddings.store import save

        save(small_set(6, 2, 4), folder / name)

    return make


def open_clip_folder(folder: Path) -> None:
    """A tiny model in open_clip's layout."""
    from tiny_models import tiny_model

    text = {"context_length": 6, "vocab_size": 64, "width": 8, "heads": 1, "layers": 1}
    vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8}
    tiny_model(folder, text_cfg=text, vision_cfg=vision, embed_dim=8)


def own_checkpoint(folder: Path) -> None:
    """Weights as finetune saves them."""
    from geomclip.encoders import load_encoder
    from geomclip.encoders.saved import save_checkpoint

    open_clip_folder(folder / "base")
    encoder = load_encoder(f"local-dir:{folder / 'base'}")
    save_checkpoint(encoder, encoder.module.state_dict(), folder / "model.safetensors", made={"method": "ft"})
    for file in (folder / "base").iterdir():
        file.unlink()
    (folder / "base").rmdir()


def hf_folder(folder: Path) -> None:
    """A tiny model of transformers, in shards with an index."""
    from hf_models import hf_folder

    _, model = hf_folder(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")


def adapter(folder: Path) -> None:
    """A low-rank adapter and its base."""
    from hf_models import hf_folder

    hf_folder(folder / "base")
    names = [f"base_model.model.text_model.encoder.layers.{i}.self_attn.q_proj" for i in range(2)]
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 24) for name in names}
    tensors |= {f"{name}.lora_B.weight": torch.ones(24, 2) for name in names}
    save_file(tensors, folder / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps({**about, "base_model_name_or_path": str(folder / "base")}))


def pickled(folder: Path) -> None:
    """A state_dict with what trainers put around it."""
    state = {"visual.proj": torch.ones(4, 4), "text_projection": torch.ones(4, 4), "logit_scale": torch.tensor(2.0)}
    torch.save({"state_dict": state, "epoch": 3, "name": "x"}, folder / "weights.pt")


def encoder(name: str) -> Read:
    """Load a model; its weights, as one digest."""

    def read(folder: Path) -> str:
        from geomclip.encoders import load_encoder

        found = load_encoder(name.replace("HERE", str(folder)))
        return sha256(*found.module.state_dict().values(), found.logit_scale)

    return read


def contents(folder: Path) -> None:
    """Read a weights file, whatever architecture it is of."""
    from geomclip.encoders.weights.contents import read_contents

    list(read_contents(folder / "weights.pt").shapes)


def result(folder: Path) -> None:
    """A result with its items."""
    from geomclip.panels import measure

    measure(small_set(8, 2, 4), bootstrap=0, metrics="default").save(folder / "result.json")


def read_result(folder: Path) -> str:
    """Load a result; its numbers."""
    from geomclip.panels.loading import load

    return sha256(load(folder / "result.json").to_dict())


def peers_result(folder: Path) -> None:
    """A result of CLIP_benchmark."""
    metrics = {"image_retrieval_recall@5": 0.5, "text_retrieval_recall@5": 0.4}
    about = {"dataset": "flickr8k", "model": "ViT-B-32", "pretrained": "openai", "task": "zeroshot_retrieval"}
    (folder / "result.json").write_text(json.dumps({**about, "metrics": metrics, "language": "en"}))


def snapshot(folder: Path) -> None:
    """A run folder with a snapshot, a log and a configuration."""
    from geomclip.training import snapshots
    from geomclip.training.loop import Course

    state = {"model": {"a": torch.ones(3, 2)}, "optimizer": {"0.exp_avg": torch.zeros(3, 2)}}
    snapshots.save(folder, 3, state, {"course": asdict(Course(best_step=2)), "seed": 0, "epoch": 1})


def read_snapshot(folder: Path) -> str:
    """Go on with the newest snapshot, if any is whole."""
    from geomclip.training import snapshots
    from geomclip.training.loop import course_of

    newest = snapshots.newest(folder)
    if newest is None:
        return ""
    state, known = snapshots.load(newest)
    return sha256(*(tensor for tensors in state.values() for tensor in tensors.values()), course_of(known))


def log(folder: Path) -> None:
    """The log of a run."""
    lines = [{"step": i, "loss": 2.0, "terms": {"contrastive": 2.0}, "lr": 1e-4} for i in range(4)]
    lines += [{"step": 3, "probe": {"alignment": 0.5, "uniformity_joint": -2.0}}, {"resumed": 3}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_run_log(folder: Path) -> None:
    """Read it, what a resumed run keeps of it, and the way that a report draws of it."""
    from geomclip.reports.course import path_of
    from geomclip.training.watching.journal import Journal

    path_of(folder)
    Journal(folder, resumed_at=2).close()


def without_sums(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """The same without the sums of JSON, as an earlier version left it: so that what is changed is looked at."""

    def made(folder: Path) -> None:
        from geomclip.machine.sums import unsealed

        make(folder)
        for file in folder.rglob("*.json"):
            file.write_text(json.dumps(unsealed(json.loads(file.read_bytes()))))

    return made


def run_config(folder: Path) -> None:
    """config.json of a run."""
    from geomclip.machine.sums import write_sealed
    from geomclip.training.settings import Settings

    about = {"schema": "geomclip.run/1", "call": {"method": "ft"}, "base": {"weights_sha256": "0"}, "data": {}}
    write_sealed(folder / "config.json", {**about, "settings": Settings().to_dict(), "finished": True})


def read_run_config(folder: Path) -> str:
    """Read it, and the settings in it."""
    from geomclip.training.folder import chosen_of, read_config
    from geomclip.training.settings import Settings

    config = read_config(folder)
    chosen_of(folder)
    return sha256(Settings.from_dict(config["settings"]), config.get("finished"))


def run_folder(folder: Path) -> None:
    """A run with all that `geomclip check` looks into."""
    own_checkpoint(folder)
    run_config(folder)
    snapshot(folder)
    result(folder)


def cache(folder: Path) -> None:
    """A cache with a store, digests and what was fetched."""
    from geomclip.machine.sums import write_sealed
    from geomclip.pairs.unpacked import write_note

    saved("embeddings/one")(folder)
    (folder / "images").mkdir()
    digests(folder / "images")
    (folder / "images/cache/digests").rename(folder / "digests")
    write(folder, {"data/toy/photos/1.jpg": b"photo"})
    write_note(folder / "data/toy", "toy.zip", {"photos/1.jpg": 5})
    for kind in ("nulls", "encoders"):
        (folder / kind).mkdir()
        write_sealed(folder / kind / "one.json", {"of": "x", "values": [0.5, 1.0]})


def check(folder: Path) -> None:
    """What `geomclip check` says of it."""
    from geomclip.cli.checks import examine

    checked = examine(folder)
    checked.failure()
    json.dumps(checked.to_dict())


def predictions(folder: Path) -> None:
    """Moments of a query."""
    (folder / "moments.json").write_text(json.dumps({"0": [[0.5, 2.0, 0.9], [3, 4]]}))


def read_moments(folder: Path) -> None:
    """Read them for that query."""
    from geomclip.grounding.record import Query
    from geomclip.grounding.scoring import read_predictions

    read_predictions(folder / "moments.json", [Query("v0", "a cat", ((0.5, 2.0),), 10.0, "0")])


def images(folder: Path) -> None:
    """An image in each format."""
    from PIL import Image

    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        content = io.BytesIO()
        Image.open(io.BytesIO(picture(1, (12, 10)))).save(content, kind)
        (folder / f"image.{'png' if kind == 'PNG' else kind.lower()}").write_bytes(content.getvalue())


def read_images(folder: Path) -> None:
    """Decode each."""
    from geomclip.pairs.images import decode
    from geomclip.pairs.reading import value_or_reason

    for file in sorted(folder.iterdir()):
        value_or_reason(lambda file=file: decode(file.read_bytes(), name=file.name), name=file.name)  # type: ignore[misc]


def features(name: str) -> Callable[[Path], object]:
    """Rows of two videos."""

    def make(folder: Path) -> None:
        rows = np.ones((6, 4), dtype=np.float32)
        if name.endswith(".h5"):
            import h5py

            with h5py.File(folder / name, "w") as out:
                out.create_dataset("v0", data=rows)
                out.create_group("v1").create_dataset("c3d_features", data=rows)
        else:
            np.save(folder / "v0.npy", rows)
            np.savez(folder / "v1.npz", features=rows)

    return make


def read_features(name: str) -> Read:
    """Pool them to clips."""

    def read(folder: Path) -> None:
        from geomclip.grounding.features import load_features

        list(load_features(folder / name, ["v0", "v1"], {"v0": 6.0, "v1": 6.0}, clips=3))

    return read


ANNOTATIONS: dict[str, str] = {
    "charades.txt": "v0 0.0 5.0##a person sits\nv1 1.0 3.0##a dog\n",
    "activitynet.json": json.dumps({"v0": {"duration": 9.0, "timestamps": [[0, 3.5]], "sentences": ["a dog"]}}),
    "tacos.json": json.dumps(
        {"v0": {"fps": 25.0, "num_frames": 250, "timestamps": [[0, 50]], "sentences": ["he cuts"]}}
    ),
    "qvhighlights.jsonl": json.dumps(
        {"vid": "v0", "query": "a cat", "qid": 1, "duration": 10, "relevant_windows": [[0, 4]]}
    )
    + "\n",
    "own.jsonl": json.dumps({"video": "v0", "text": "a cat", "start": 0.5, "end": 2.0, "duration": 9.0}) + "\n",
}


def read_annotations(folder: Path) -> None:
    """Each in its format."""
    from geomclip.grounding.annotations import load_queries
    from geomclip.machine.errors import InputError

    refused: InputError | None = None
    for name in ANNOTATIONS:
        format = {"own": "jsonl"}.get(name.partition(".")[0], name.partition(".")[0])
        durations = {"v0": 10.0, "v1": 10.0} if format == "charades" else None
        try:
            load_queries(folder / name, format=format, durations=durations)
        except InputError as error:
            refused = error
    if refused is not None:
        raise refused


def read_digests(folder: Path) -> str:
    """Use the digests of a cache, whatever is in them."""
    from geomclip.encoders.extraction.digests import Digests
    from geomclip.pairs.record import ImageFile

    images = [ImageFile(folder / f"{i}.png") for i in range(4)]
    return sha256(Digests(images, folder / "cache").sha256(range(4)))


def digests(folder: Path) -> None:
    """A cache that knows four images."""
    pictures(folder)
    time.sleep(2.1)  # a file that was just written is not kept
    read_digests(folder)


def written(files: dict[str, Any]) -> Callable[[Path], object]:
    """Files by name."""
    return lambda folder: write(folder, files)


KINDS: dict[str, Kind] = {
    "csv": Kind(table("pairs.csv"), pairs("csv:HERE/pairs.csv"), "pairs.csv"),
    "tsv": Kind(table("pairs.tsv"), pairs("tsv:HERE/pairs.tsv"), "pairs.tsv"),
    "jsonl": Kind(table("pairs.jsonl"), pairs("jsonl:HERE/pairs.jsonl"), "pairs.jsonl"),
    "json": Kind(table("pairs.json"), pairs("json:HERE/pairs.json"), "pairs.json"),
    "parquet": Kind(table("pairs.parquet"), pairs("parquet:HERE/pairs.parquet", image_column="image"), "pairs.parquet"),
    "arrow": Kind(arrow, pairs("parquet:HERE", image_column="image")),
    "tar": Kind(tar, pairs("wds:HERE/pairs.tar"), costs=2),
    "folder": Kind(beside, pairs("folder:HERE"), "*.[tj]*"),
    "classes": Kind(classes, pairs("imagenet-folder:HERE"), "*.txt"),
    "coco": Kind(written(COCO), pairs("coco"), "*.json"),
    "karpathy": Kind(written(KARPATHY), pairs("flickr8k"), "*.json"),
    "image": Kind(images, read_images, costs=3),
    "npz": Kind(vectors("v.npz"), embeddings("v.npz")),
    "npy": Kind(vectors("v.npy"), embeddings("v.npy")),
    "pt": Kind(vectors("v.pt"), embeddings("v.pt")),
    "safetensors": Kind(vectors("v.safetensors"), embeddings("v.safetensors")),
    "h5": Kind(vectors("v.h5"), embeddings("v.h5"), costs=2),
    "vectors.parquet": Kind(vectors("v.parquet"), embeddings("v.parquet")),
    "own.npz": Kind(saved("own.npz"), embeddings("own.npz")),
    "store": Kind(saved("store"), embeddings("store"), summed=True, costs=3),
    "store.old": Kind(without_sums(saved("store")), embeddings("store"), "manifest.json", costs=2),
    "open_clip": Kind(open_clip_folder, encoder("local-dir:HERE"), costs=20),
    "checkpoint": Kind(own_checkpoint, encoder("HERE/model.safetensors"), summed=True, costs=20),
    "transformers": Kind(hf_folder, encoder("HERE"), costs=40),
    "adapter": Kind(adapter, encoder("HERE"), "adapter_*", costs=40),
    "pickle": Kind(pickled, contents),
    "result": Kind(result, read_result, summed=True, costs=5),
    "result.old": Kind(without_sums(result), read_result, costs=5),
    "peers": Kind(peers_result, read_result),
    "snapshot": Kind(snapshot, read_snapshot, summed=True, costs=2),
    "snapshot.old": Kind(without_sums(snapshot), read_snapshot, costs=2),
    "log": Kind(log, read_run_log),
    "config": Kind(run_config, read_run_config, summed=True),
    "config.old": Kind(without_sums(run_config), read_run_config),
    "check.run": Kind(run_folder, check, costs=10),
    "check.cache": Kind(cache, check, costs=5),
    "moments": Kind(predictions, read_moments),
    "features": Kind(features(""), read_features("")),
    "features.h5": Kind(features("f.h5"), read_features("f.h5"), costs=2),
    "annotations": Kind(written(ANNOTATIONS), read_annotations, costs=2),
    "digests": Kind(digests, read_digests, "*.bin", summed=True),
}


def files_of(kind: Kind, folder: Path) -> list[str]:
    """Names of the files that are changed, in one order."""
    return sorted(str(path.relative_to(folder)) for path in _found(folder, kind.mutated))


def _found(folder: Path, pattern: str) -> Iterable[Path]:
    return (path for path in folder.rglob(pattern) if path.is_file() and not path.is_symlink())
