"""A watch inside the loops of others, each the real one with a tiny model: it sees what they train."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sentences import columns, sentence_model
from torch import Tensor, nn
from tower_kinds import inputs, module_of

import geomclip as gc
from geomclip import metrics
from geomclip.machine.errors import InputError
from geomclip.training.watching.lines import read_log
from geomclip.training.watching.outputs import Passing

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def kinds(log: Path) -> list[tuple[int, str]]:
    found = ("batch", "probe", "warning")
    return [(line["step"], next(kind for kind in found if kind in line)) for line in read_log(log) if "step" in line]


def alignments(log: Path) -> list[float]:
    return [line["batch"]["alignment"] for line in read_log(log) if "batch" in line]


# ------------------------------------------------------------------------------------------------------------ open_clip


class Loader(list[tuple[Tensor, Tensor]]):
    """What open_clip's trainer asks of a loader."""

    num_samples = 12

    @property
    def num_batches(self) -> int:
        return len(self)


def epoch_of_open_clip(model: nn.Module, loss: Any, *, accumulate: int = 1, count: int = 4) -> None:
    train = pytest.importorskip("open_clip_train.train")
    model.output_dict = True  # type: ignore[assignment]  # as open_clip's own main sets it
    batches = Loader([inputs(model, 5, seed=seed) for seed in range(count)])
    data = {"train": SimpleNamespace(dataloader=batches, set_epoch=lambda epoch: None)}
    args = Namespace(
        **{"device": "cpu", "precision": "fp32", "distill": False, "accum_freq": accumulate, "skip_scheduler": True},
        **{"grad_clip_norm": None, "horovod": False, "log_every_n_steps": 1, "batch_size": 5, "world_size": 1},
        **{"wandb": False, "rank": 0, "local_rank": 0, "save_logs": False},
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    train.train_one_epoch(model, data, loss, 0, optimizer, None, None, None, args)


@pytest.mark.parametrize(
    ("kind", "make"), [("openai", "ClipLoss"), ("timm-siglip", "SigLipLoss"), ("coca", "CoCaLoss")]
)
def test_the_loop_of_open_clip_tells_each_batch_by_its_loss(tmp_path: Path, kind: str, make: str) -> None:
    import open_clip

    model = module_of(kind)
    how = {"caption_loss_weight": 1.0, "clip_loss_weight": 1.0} if make == "CoCaLoss" else {}
    log = tmp_path / "log.jsonl"
    before = model.logit_scale.exp().item()  # type: ignore[union-attr, operator]
    with gc.watch(inputs(model, 6, seed=9), encode=model, every=2, out=log) as watched:
        loss = getattr(open_clip.loss, make)(**how)
        assert watched.for_open_clip(loss) is loss
        epoch_of_open_clip(model, loss)
    assert kinds(log) == [
        (1, "batch"),
        (1, "probe"),
        (2, "batch"),
        (2, "probe"),
        (3, "batch"),
        (4, "batch"),
        (4, "probe"),
    ]
    first = read_log(log)[1]["batch"]
    assert first["logit_scale"] == pytest.approx(before, rel=1e-5)
    assert ("logit_bias" in first) is (kind == "timm-siglip")
    fresh = module_of(kind).train()
    with torch.no_grad():
        pixels, tokens = inputs(fresh, 5, seed=0)
        image, text = (
            out[0] if isinstance(out, tuple) else out for out in (fresh.encode_image(pixels), fresh.encode_text(tokens))
        )  # type: ignore[operator]
    assert first["alignment"] == pytest.approx(float(metrics.alignment(image, text)), rel=1e-4)


def test_a_watch_changes_nothing_of_what_open_clip_trains(tmp_path: Path) -> None:
    import open_clip

    trained = []
    for watching in (False, True):
        torch.manual_seed(0)
        model = module_of("openai")
        loss = open_clip.ClipLoss()
        if watching:
            with gc.watch(inputs(model, 6, seed=9), encode=model, every=1, out=tmp_path / "log.jsonl") as watched:
                epoch_of_open_clip(model, watched.for_open_clip(loss))
        else:
            epoch_of_open_clip(model, loss)
        trained.append(model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_accumulated_batches_of_open_clip_are_one_step_with_all_their_rows(tmp_path: Path) -> None:
    import open_clip

    model = module_of("openai")
    with gc.watch(out=tmp_path / "log.jsonl") as watched:
        epoch_of_open_clip(model, watched.for_open_clip(open_clip.ClipLoss(), accumulate=2), accumulate=2)
    assert kinds(tmp_path / "log.jsonl") == [(1, "batch"), (2, "batch")]
    assert watched.batch["rows"] == 10


def test_a_loss_that_is_a_function_is_wrapped_and_one_without_rows_refused(tmp_path: Path) -> None:
    def loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> Tensor:
        return (image_features - text_features).square().sum() * logit_scale

    watched = gc.watch(out=tmp_path / "log.jsonl")
    told = watched.for_open_clip(loss)
    image, text = torch.eye(3), torch.eye(3)
    assert told(image, text, logit_scale=torch.tensor(20.0)) == 0
    with torch.no_grad():
        told(image, text, torch.tensor(20.0))  # an evaluation
    watched.close()
    assert kinds(tmp_path / "log.jsonl") == [(1, "batch")]
    with pytest.raises(
        InputError, match=r"CrossEntropyLoss takes no image_features and no text_features: call watch\.step"
    ):
        watched.for_open_clip(nn.CrossEntropyLoss())
    with pytest.raises(InputError, match="accumulate must be 1 call a step or more, got 0"):
        watched.for_open_clip(loss, accumulate=0)


# --------------------------------------------------------------------------------------------------------- transformers


def tiny_clip(kind: str = "CLIP") -> nn.Module:
    """A CLIPModel or SiglipModel with random weights."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 100, "max_position_embeddings": 12, "eos_token_id": 99, "pad_token_id": 0}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    name = {"CLIP": "CLIP", "Siglip": "Siglip"}[kind]
    more = {"projection_dim": 8} if kind == "CLIP" else {}
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision, **more)
    return getattr(transformers, f"{name}Model")(config)


class Examples(torch.utils.data.Dataset[dict[str, Any]]):
    """Pixels and tokens as a CLIPModel takes them."""

    def __init__(self, count: int = 16, **more: Any) -> None:
        draw = torch.Generator().manual_seed(0)
        self.pixels = torch.randn(count, 3, 32, 32, generator=draw)
        self.tokens = torch.randint(1, 98, (count, 12), generator=draw)
        self.tokens[:, -1] = 99
        self.more = more

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"pixel_values": self.pixels[i], "input_ids": self.tokens[i]}


def collated(examples: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: torch.stack([each[key] for each in examples]) for key in examples[0]} | {"return_loss": True}


def trainer_of_transformers(model: nn.Module, folder: Path, callbacks: list[Any], **how: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    settings: dict[str, Any] = {"max_steps": 4, "per_device_train_batch_size": 4, "report_to": [], "disable_tqdm": True}
    settings |= {
        "use_cpu": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "remove_unused_columns": False,
        **how,
    }
    args = transformers.TrainingArguments(str(folder), **settings)
    return transformers.Trainer(
        model, args, train_dataset=Examples(), data_collator=collated, callbacks=callbacks, eval_dataset=Examples(4)
    )


def probe_of(model: str = "CLIP") -> tuple[Tensor, dict[str, Tensor]]:
    examples = Examples(6)
    return examples.pixels, {"input_ids": examples.tokens}


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_the_trainer_of_transformers_tells_each_step_and_the_start(tmp_path: Path, kind: str) -> None:
    model, log = tiny_clip(kind), tmp_path / "log.jsonl"
    watched = gc.watch(probe_of(), every=2, out=log)
    trainer_of_transformers(model, tmp_path, [watched.for_transformers()], eval_strategy="steps", eval_steps=1).train()
    assert kinds(log) == [
        (0, "probe"),
        *[(1, "batch"), (2, "batch"), (2, "probe"), (3, "batch"), (4, "batch"), (4, "probe")],
    ]
    assert watched.batch["rows"] == 4
    assert watched.batch["logit_scale"] == pytest.approx(model.logit_scale.exp().item(), rel=1e-2)  # type: ignore[union-attr, operator]
    assert ("logit_bias" in watched.batch) is (kind == "Siglip")
    fresh = tiny_clip(kind).eval()
    with torch.no_grad():
        image = fresh.get_image_features(probe_of()[0]).pooler_output  # type: ignore[operator]
    start = read_log(log)[1]["probe"]
    assert start["uniformity_image"] == pytest.approx(float(metrics.uniformity(image)), rel=1e-4)
    assert not model._forward_hooks


def test_a_run_of_transformers_that_goes_on_continues_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for limit, resume in ((2, None), (4, True)):
        watched = gc.watch(probe_of(), every=2, out=log)
        how = {"max_steps": limit, "save_strategy": "steps", "save_steps": 2}
        callbacks = [watched.for_transformers()]
        trainer_of_transformers(tiny_clip(), tmp_path / "run", callbacks, **how).train(resume_from_checkpoint=resume)
    assert [line["resumed"] for line in read_log(log) if "resumed" in line] == [2]
    assert [step for step, kind in kinds(log) if kind == "batch"] == [1, 2, 3, 4]
    assert [step for step, kind in kinds(log) if kind == "probe"] == [0, 2, 4]


def test_accumulated_gradients_of_transformers_are_one_step(tmp_path: Path) -> None:
    watched = gc.watch(out=tmp_path / "log.jsonl")
    callbacks = [watched.for_transformers()]
    trainer_of_transformers(tiny_clip(), tmp_path, callbacks, max_steps=2, gradient_accumulation_steps=2).train()
    assert kinds(tmp_path / "log.jsonl") == [(1, "batch"), (2, "batch")]


def test_a_model_without_rows_of_texts_is_refused_with_what_it_has(tmp_path: Path) -> None:
    class Pictures(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * 32 * 32, 4)

        def forward(self, pixel_values: Tensor, input_ids: Tensor, return_loss: bool = True) -> dict[str, Tensor]:
            rows = self.layer(pixel_values.flatten(1))
            return {"loss": rows.square().mean(), "image_embeds": rows}

    watched = gc.watch(out=tmp_path / "log.jsonl")
    trainer = trainer_of_transformers(Pictures(), tmp_path, [watched.for_transformers()])
    with pytest.raises(
        InputError, match=r"neither image_embeds and text_embeds .*\(it has loss, image_embeds\).*rows="
    ):
        trainer.train()

    def rows(output: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return output["image_embeds"], -output["image_embeds"]

    trainer_of_transformers(Pictures(), tmp_path, [watched.for_transformers(rows)]).train()
    assert watched.batch["alignment"] == pytest.approx(4)


def test_rows_of_an_evaluation_are_not_taken_for_those_of_a_step() -> None:
    class Rows(nn.Module):
        def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
            return rows, 2 * rows

    model = Rows()
    passing = Passing(model)
    model(torch.eye(2))
    with torch.no_grad():
        model(torch.eye(3))
    assert passing.take().text.tolist() == [[2, 0], [0, 2]]
    with pytest.raises(InputError, match="neither image_embeds and text_embeds nor"):
        passing.take()


# ------------------------------------------------------------------------------------------------------------ lightning


def lightning_module(*, returns: bool, siblings: bool = False) -> Any:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = module_of("openai")

        def training_step(self, batch: Any, index: int) -> Any:
            if returns:
                image, text = self.model.encode_image(batch[0]), self.model.encode_text(batch[1])
                scale = self.model.logit_scale.exp()
            else:
                image, text, scale = self.model(*batch)[:3]
            logits = scale * nn.functional.normalize(image) @ nn.functional.normalize(text).T
            loss = nn.functional.cross_entropy(logits, torch.arange(len(logits)))
            return {"loss": loss, "image_features": image, "text_features": text} if returns else loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.model(*batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-4)

    return Module()


def fit(module: Any, folder: Path, callbacks: list[Any], *, checkpoint: Any = None, **how: Any) -> Any:
    lightning = pytest.importorskip("lightning.pytorch")
    pixels, tokens = inputs(module.model, 16)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(pixels, tokens), batch_size=4)
    settings: dict[str, Any] = {"max_steps": 4, "logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    settings |= {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder, **how}
    trainer = lightning.Trainer(callbacks=callbacks, **settings)
    trainer.fit(module, loader, loader, ckpt_path=checkpoint)
    return trainer


LIGHTNING = pytest.mark.filterwarnings("ignore:.*")
"""Lightning warns of few workers, of few batches and of files of checkpoints that torch reads."""


@LIGHTNING
@pytest.mark.parametrize("returns", [False, True])
def test_lightning_tells_each_step_by_its_model_or_by_what_a_step_returns(tmp_path: Path, returns: bool) -> None:
    module, log = lightning_module(returns=returns), tmp_path / "log.jsonl"
    watched = gc.watch(inputs(module.model, 6, seed=9), every=2, out=log)
    fit(module, tmp_path, [watched.for_lightning()])
    assert kinds(log) == [
        (0, "probe"),
        *[(1, "batch"), (2, "batch"), (2, "probe"), (3, "batch"), (4, "batch"), (4, "probe")],
    ]
    assert watched.batch["rows"] == 4
    assert watched.batch["logit_scale"] == pytest.approx(module.model.logit_scale.exp().item(), rel=1e-2)
    assert len(set(alignments(log))) == 4


@LIGHTNING
def test_accumulated_batches_of_lightning_are_one_step(tmp_path: Path) -> None:
    watched = gc.watch(out=tmp_path / "log.jsonl")
    fit(lightning_module(returns=False), tmp_path, [watched.for_lightning()], max_steps=2, accumulate_grad_batches=2)
    assert kinds(tmp_path / "log.jsonl") == [(1, "batch"), (2, "batch")]


@LIGHTNING
def test_a_run_of_lightning_that_goes_on_continues_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    trainer = fit(lightning_module(returns=False), tmp_path, [gc.watch(out=log).for_lightning()], max_steps=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = [gc.watch(out=log).for_lightning()]
    fit(lightning_module(returns=False), tmp_path, again, checkpoint=tmp_path / "last.ckpt")
    assert [line["resumed"] for line in read_log(log) if "resumed" in line] == [2]
    assert [step for step, _ in kinds(log)] == [1, 2, 3, 4]


@LIGHTNING
def test_a_step_of_lightning_without_rows_is_refused(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = module_of("openai")

        def training_step(self, batch: Any, index: int) -> Any:
            return self.model.encode_image(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-4)

    watched = gc.watch(out=tmp_path / "log.jsonl")
    with pytest.raises(InputError, match="neither image_embeds and text_embeds nor image_features and text_features"):
        fit(Module(), tmp_path, [watched.for_lightning()])


# ------------------------------------------------------------------------------------------------ sentence-transformers


def train_sentences(model: Any, loss: Any, folder: Path, callbacks: list[Any], **more: Any) -> None:
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    args = SentenceTransformerTrainingArguments(
        str(folder), max_steps=4, per_device_train_batch_size=4, report_to=[], disable_tqdm=True, use_cpu=True,
        save_strategy="no", logging_strategy="no", **more,
    )  # fmt: skip
    SentenceTransformerTrainer(model, args, train_dataset=columns(), loss=loss, callbacks=callbacks).train()


@pytest.mark.parametrize("cached", [False, True])
def test_the_trainer_of_sentence_transformers_tells_the_pairs_of_each_step(tmp_path: Path, cached: bool) -> None:
    model, log = sentence_model(tmp_path / "model"), tmp_path / "log.jsonl"
    from sentence_transformers.sentence_transformer import losses

    kind = losses.CachedMultipleNegativesRankingLoss if cached else losses.MultipleNegativesRankingLoss
    loss = kind(model, **({"mini_batch_size": 3} if cached else {}))
    probe = (["red dog", "blue car", "small tree"], ["a red dog", "a blue car", "a small tree"])
    with torch.no_grad():
        texts = columns()
        watched = gc.watch(probe, every=2, out=log)
    train_sentences(model, loss, tmp_path, [watched.for_sentence_transformers(loss)])
    assert kinds(log) == [
        (0, "probe"),
        *[(1, "batch"), (2, "batch"), (2, "probe"), (3, "batch"), (4, "batch"), (4, "probe")],
    ]
    assert watched.batch["rows"] == 4
    assert watched.batch["temperature"] == pytest.approx(0.05)
    assert len(texts) == 16
    assert not model._forward_hooks
    assert not loss._forward_hooks


def test_cached_and_plain_losses_tell_the_same_pairs(tmp_path: Path) -> None:
    found = []
    for name, size in (("plain", None), ("cached", 3)):
        model = sentence_model(tmp_path / name).eval()
        for module in model.modules():  # the two draw dropout differently
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        from sentence_transformers.sentence_transformer import losses

        plain, cached = losses.MultipleNegativesRankingLoss, losses.CachedMultipleNegativesRankingLoss
        loss = plain(model) if size is None else cached(model, mini_batch_size=size)
        watched = gc.watch(out=tmp_path / f"{name}.jsonl")
        train_sentences(model, loss, tmp_path, [watched.for_sentence_transformers(loss)], seed=3)
        found.append(alignments(tmp_path / f"{name}.jsonl"))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_another_loss_than_the_trainers_and_none_at_all_are_refused(tmp_path: Path) -> None:
    model = sentence_model(tmp_path / "model")
    from sentence_transformers.sentence_transformer import losses

    watched = gc.watch(out=tmp_path / "log.jsonl")
    other = watched.for_sentence_transformers(losses.MultipleNegativesRankingLoss(model))
    with pytest.raises(InputError, match="the loss of the trainer was not the one that for_sentence_transformers got"):
        train_sentences(model, losses.MultipleNegativesRankingLoss(model), tmp_path, [other])
    with pytest.raises(InputError, match="loss must be the module that the trainer is given, got str"):
        watched.for_sentence_transformers("MultipleNegativesRankingLoss")
