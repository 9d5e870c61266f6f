"""A tiny SentenceTransformer with random weights, and pairs of texts to train it with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ["red", "green", "blue", "small", "large", "round", "square", "dog", "cat", "house", "tree", "car"]


def sentence_model(folder: Path) -> Any:
    """A SentenceTransformer of a tiny BERT with random weights."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=16, **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)
    transformer = Transformer(str(folder))
    return SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension())], device="cpu")


def columns(count: int = 16) -> Any:
    datasets = pytest.importorskip("datasets")
    texts = [f"{WORDS[i % 12]} {WORDS[(i + 5) % 12]}" for i in range(count)]
    return datasets.Dataset.from_dict({"anchor": texts, "positive": [f"large {text}" for text in texts]})
