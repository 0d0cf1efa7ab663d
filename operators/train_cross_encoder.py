"""Train a cross-encoder on queries with positives and negatives; what it makes is a teacher.

The start is an encoder of models.yaml, read as a classifier of one output; Ruri (arXiv:2409.07737) built its
reranker likewise. The saved folder is also a model for `backend: cross-encoder` of models.yaml.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import indexed, told
from operators.contract import Example, InputError, Params, ids, operator, text
from operators.engines.encoder import Encoder, Tokens, revision, source, window_of
from operators.engines.models import ModelEntry, Space
from operators.engines.shapes import one_thread
from operators.engines.teacher import CrossEncoder
from operators.engines.train_cross import Group, Loss, Said, Settings, train
from operators.index_texts import Texts


class TrainCrossEncoder(Params):
    """How long and on what to train."""

    max_queries: int = Field(default=4000, ge=1, description="the first by id, which is a hash")
    negatives: int = Field(default=4, ge=1, le=31, description="of each query, the first so many")
    loss: Loss = Field(default="both", description="listwise: which of a query's passages; pointwise: each alone; both: the sum")
    activation: Literal["", "sigmoid"] = Field(default="sigmoid", description="sigmoid: scores are probabilities; empty: logits")
    max_tokens: int = Field(default=256, ge=16, le=8192, description="of a query with its passage; what is longer is cut")
    batch_queries: int = Field(default=8, ge=1, description="queries a step")
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1.5e-4, gt=0, description="at its height; larger models want less, 2e-5 to 5e-5")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps in which the rate rises; then it falls to 0")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of the products; weights are float32")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _probable(self) -> Self:
        if self.loss == "listwise" and self.activation:
            raise ValueError("loss listwise orders passages and fits no probability; say activation '' or loss both")
        return self

    @property
    def space(self) -> Space:
        """Of the scores that the teacher will give."""
        return "probability" if self.activation else "logit"


class _Training:
    """Rows under way: ids and queries of ``max_queries`` at most, until the last one is there."""

    def __init__(self, p: TrainCrossEncoder, encoder: Encoder, texts: Texts) -> None:
        self.p, self._encoder, self._texts = p, encoder, texts
        self.rows: list[tuple[str, list[bytes]]] = []  # the positive first

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part; a query without a positive or without a negative teaches nothing."""
        for part in columns.slices(table):
            if len(self.rows) >= self.p.max_queries:
                return
            wanted = (part[c].to_pylist() for c in ("query", "positive_ids", "negative_ids"))
            for query, positives, negatives in zip(*wanted, strict=True):
                if positives and negatives and len(self.rows) < self.p.max_queries:
                    self.rows.append((query, [positives[0], *negatives[: self.p.negatives]]))

    def merge(self, later: "_Training") -> None:
        """Take in the fold of later parts."""
        self.rows = [*self.rows, *later.rows][: self.p.max_queries]

    def finish(self) -> CrossEncoder:
        """Train; without a row there is nothing to learn."""
        if not self.rows:
            raise InputError("train_cross_encoder: no row has a positive and a negative; give it rows behind select_negatives")
        model, tokenizer, entry = _start(self._encoder.entry, self.p)
        groups = self._groups(tokenizer)
        p = self.p
        half = p.dtype == "bfloat16"
        how = Settings(p.loss, p.batch_queries, p.epochs, p.learning_rate, p.warmup, p.seed, half)
        train(model, groups, int(tokenizer.pad_token_id or 0), how, Said("train_cross_encoder"))
        return CrossEncoder(model, tokenizer, entry)

    def _groups(self, tokenizer: Any) -> list[Group]:
        known = told(self._texts, (i for _, row in self.rows for i in row))
        groups, tokens = [], Tokens(tokenizer, self.p.max_tokens)
        for query, row in self.rows:
            passages = [known[i] for i in row]
            made, _ = tokens([query] * len(row), passages)
            groups.append(Group(made, [pair.index(tokenizer.sep_token_id) + 1 for pair in made]))
        return groups


def _start(encoder: ModelEntry, p: TrainCrossEncoder) -> tuple[Any, Any, ModelEntry]:
    """The encoder's weights with a head of one output, drawn by the seed; and what the teacher is."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    one_thread()
    torch.manual_seed(p.seed)
    where, given = source(encoder), {"revision": revision(encoder), "trust_remote_code": encoder.trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(where, **given)
    model = AutoModelForSequenceClassification.from_pretrained(where, num_labels=1, dtype="float32", **given)
    if (most := window_of(model, p.max_tokens)) < p.max_tokens:
        raise InputError(f"train_cross_encoder: max_tokens is {p.max_tokens}, this model has places for {most}; say no more")
    entry = {"kind": "teacher", "backend": "cross-encoder", "model": "trained", "max_tokens": p.max_tokens}
    return model, tokenizer, ModelEntry.model_validate({**entry, "activation": p.activation})


def _from_an_encoder(p: TrainCrossEncoder, using: Mapping[str, Any]) -> list[str]:
    backend = using["encoder"].backend if "encoder" in using else "sentence-transformers"
    if backend == "sentence-transformers":
        return []
    return [f"train_cross_encoder starts from a transformer; backend {backend} is none; name an encoder of sentence-transformers"]


@operator(
    "build", version="2", holds=True, reads={"query": text, "positive_ids": ids, "negative_ids": ids},
    check=_from_an_encoder, space=lambda p: p.space,
)  # fmt: skip
def train_cross_encoder(p: TrainCrossEncoder, *, encoder: Encoder, texts: Texts) -> _Training:
    """One pass over rows with negatives, in id order; a `Teacher` comes out."""
    return _Training(p, encoder, texts)


def example() -> Example:
    """Three queries over four passages, from the packaged encoder."""
    from operators.engines import load_model, packaged

    words = ["iron rusts in rain", "owls hunt at night", "bread needs yeast", "rain falls from clouds"]
    key, texts = indexed(words)
    rows = {
        "query": pa.array(["why does iron rust", "when do owls hunt", "what makes bread rise"], text),
        "positive_ids": pa.array([[key[0]], [key[1]], [key[2]]], ids),
        "negative_ids": pa.array([[key[3], key[1]], [key[0]], [key[3]]], ids),
    }
    used = {"encoder": load_model("encoder", packaged("encoder")), "texts": texts}
    return Example(pa.table(rows), TrainCrossEncoder(max_tokens=32, batch_queries=2), used)
