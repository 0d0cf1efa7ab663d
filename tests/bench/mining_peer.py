"""sentence-transformers' `mine_hard_negatives`, timed by phase: `python -m tests.bench.mining_peer SPEC.json`.

SPEC: pairs (parquet: query, passage), corpus (parquet: text), model, static, negatives, options, cross_encoder, cache, and
vectors: two steps of Pithead's, whose vectors of passages and of queries are taken in place of an encoding. It prints one
line of JSON: seconds by phase, and the negatives of each query as texts in a file.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


class Watch:
    """Seconds spent inside wrapped methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    def wrap(self, owner: Any, method: str, name: str) -> None:
        plain = getattr(owner, method)

        def timed(*args: Any, **more: Any) -> Any:
            with self.phase(name):
                return plain(*args, **more)

        setattr(owner, method, timed)


def main() -> None:
    said = json.loads(Path(sys.argv[1]).read_text())
    watch = Watch()
    with watch.phase("load"):
        import faiss
        import torch
        from datasets import Dataset
        from sentence_transformers import CrossEncoder, SentenceTransformer
        from sentence_transformers.util import mine_hard_negatives

        model = static_model(said["model"]) if said["static"] else SentenceTransformer(said["model"], device="cpu")
        cross = CrossEncoder(said["cross_encoder"], device="cpu", max_length=256) if said.get("cross_encoder") else None
    if said.get("vectors"):
        model.encode_document, model.encode_query = (looked_up(Path(home), name) for home, name in zip(said["vectors"], ("passage_id", "query_id"), strict=True))
    for method in ("encode_query", "encode_document"):
        watch.wrap(model, method, "encode")
    watch.wrap(model, "similarity", "search")
    watch.wrap(torch, "topk", "search")
    watch.wrap(faiss.IndexFlatIP, "search", "search")
    if cross is not None:
        watch.wrap(cross, "predict", "teacher")
    pairs = pq.read_table(said["pairs"])
    with watch.phase("total"):
        got = mine_hard_negatives(
            Dataset.from_dict({"query": pairs["query"].to_pylist(), "answer": pairs["passage"].to_pylist()}), model,
            corpus=pq.read_table(said["corpus"])["text"].to_pylist(), num_negatives=said["negatives"], output_format="n-tuple",
            cross_encoder=cross, cache_folder=said.get("cache"), verbose=False, **said["options"],
        )  # fmt: skip
    if said.get("out"):
        got.to_parquet(said["out"])
    print(json.dumps({"seconds": watch.seconds, "rows": len(got)}))


def looked_up(home: Path, name: str) -> Any:
    """An encoder's method that answers from a stored step."""
    import numpy as np
    import pyarrow as pa

    from operators.columns import content_ids, vectors

    rows = pa.concat_tables([pq.read_table(path, columns=[name, "vector"]) for path in sorted(home.glob("parts/*.parquet"))]).combine_chunks()
    where, matrix = {one: i for i, one in enumerate(rows[name].to_pylist())}, vectors(rows["vector"])

    def encode(texts: list[str], **_: Any) -> Any:
        plain = [""] * len(texts)
        ids = content_ids(texts, plain) if name == "query_id" else content_ids(plain, texts)
        return matrix[np.array([where[one] for one in ids.to_pylist()])]

    return encode


def static_model(folder: str) -> Any:
    """Pithead's static encoder as sentence-transformers runs one."""
    from safetensors import safe_open
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer

    from operators.engines.encoder import _weighted

    with safe_open(f"{folder}/model.safetensors", framework="numpy") as file:
        name = next(n for n in file.keys() if n.endswith("word_embeddings.weight"))  # noqa: SIM118
        table = _weighted(file.get_tensor(name).astype("float32"))
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table), Normalize()], device="cpu")


if __name__ == "__main__":
    main()
