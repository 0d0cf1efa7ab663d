"""datasketch or datatrove over one parquet file, in an environment of their own: pairs or clusters of rows, as JSON.

`python -m tests.bench.dedup_peer spec.json`; nothing of Pithead is imported. The texts are shingled as Pithead does it by
default, but that datatrove knows no shingles of characters: a text of less than five words has none there.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

# Scripts that set no spaces between words count by character.
UNITS = re.compile("[{0}]|[^ {0}]+".format("\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"))


def units(value: str) -> list[str]:
    return value.split() if value.isascii() else UNITS.findall(" ".join(value.split()))


def shingles(value: str) -> set[str]:
    words = units(value.casefold())
    if len(words) >= 9:
        return {" ".join(words[i : i + 5]) for i in range(len(words) - 4)}
    whole = " ".join(value.casefold().split())
    return {whole[i : i + 5] for i in range(max(len(whole) - 4, 1))} if whole else set()


def datasketch(spec: dict[str, Any]) -> dict[str, Any]:
    """Each text asks the index for its neighbours and joins it; where asked, both texts of a pair are compared."""
    import xxhash
    from datasketch import MinHash, MinHashLSH

    texts = pq.read_table(spec["corpus"])["text"].to_pylist()
    params = tuple(spec["bands"]) if spec.get("bands") else None
    numbers = params[0] * params[1] if params else 128  # no more than its bands take
    index = MinHashLSH(threshold=0.8, num_perm=numbers, params=params)
    blank, pairs = MinHash(num_perm=numbers, hashfunc=xxhash.xxh32_intdigest), []
    for row, value in enumerate(texts):
        if told := shingles(value):
            signature = blank.copy()
            signature.update_batch([one.encode() for one in told])
            pairs += [(other, row) for other in index.query(signature)]
            index.insert(row, signature, check_duplication=False)
    if spec["verify"]:
        sets = {row: shingles(texts[row]) for row in {row for pair in pairs for row in pair}}
        pairs = [(a, b) for a, b in pairs if len(sets[a] & sets[b]) >= 0.8 * len(sets[a] | sets[b])]
    return {"pairs": pairs}


def datatrove(spec: dict[str, Any]) -> dict[str, Any]:
    """Its four stages on two processes, as its example has them; the clusters of the rows."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Blanks(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return units(text)

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    home = Path(spec["home"])
    norm = TextNormConfig(True, True, False, False, False)
    bands = {"num_buckets": spec["bands"][0], "hashes_per_bucket": spec["bands"][1]} if spec.get("bands") else {}
    config = MinhashConfig(n_grams=5, norm_config=norm, **bands)

    def reader() -> ParquetReader:
        return ParquetReader(spec["corpus"], text_key="text", id_key="_id")

    def done(tasks: int, *pipeline: Any) -> None:
        LocalPipelineExecutor(pipeline=list(pipeline), tasks=tasks, workers=min(tasks, 2), logging_dir=str(home / "logs" / str(len(told)))).run()
        told.append(0)

    told: list[int] = []
    done(2, reader(), MinhashDedupSignature(str(home / "sig"), config, language=Blanks()))  # type: ignore[arg-type]
    done(config.num_buckets, MinhashDedupBuckets(str(home / "sig"), str(home / "dups"), config=config))
    done(1, MinhashDedupCluster(str(home / "dups"), str(home / "rm"), config=config, save_cluster_id=True))
    kept = JsonlWriter(str(home / "kept"), compression=None)
    removed = JsonlWriter(str(home / "removed"), compression=None)
    done(2, reader(), MinhashDedupFilter(str(home / "rm"), exclusion_writer=removed, load_cluster_ids=True), kept)
    clusters: dict[int, list[int]] = {}
    for file in [*(home / "kept").rglob("*.jsonl"), *(home / "removed").rglob("*.jsonl")]:
        for line in file.read_text().splitlines():
            row = json.loads(line)
            clusters.setdefault(row["metadata"]["minhash_cluster_id"], []).append(int(row["id"]))
    return {"clusters": [one for number, one in clusters.items() if number >= 0]}  # -1: alone


if __name__ == "__main__":
    spec = json.loads(Path(sys.argv[1]).read_text())
    start = time.monotonic()
    found = {"datasketch": datasketch, "datatrove": datatrove}[spec["tool"]](spec)
    found["seconds"] = round(time.monotonic() - start, 1)
    Path(spec["out"]).write_text(json.dumps(found))
