"""contrastors' streaming reader over local shards, as it is in its repository (in no registry)."""

import os

import yaml

from tests.exports.loaders.common import LENGTH, answer, minilm, said, told


def main() -> None:
    os.environ["LOCAL_RANK"] = "0"
    from contrastors.dataset.text_text_loader import StreamingShardDataset
    from transformers import AutoTokenizer

    folder, options = told()
    spec = yaml.safe_load((folder / "data.yaml").read_text())
    for one in spec["datasets"]:
        one["bucket"] = f"{options['bucket']}/{one['bucket']}"
    (folder.parent / "spec.yaml").write_text(yaml.safe_dump(spec))
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    data = StreamingShardDataset(str(folder.parent / "spec.yaml"), global_batch_size=2, tokenizer=tokenizer, seed=1, add_eos=False,
                                 add_prefix=False, num_negatives=options["negatives"], verbose=False, run_name="test",
                                 query_max_length=LENGTH, document_max_length=LENGTH)  # fmt: skip
    rows = []
    for batch in data:
        texts, width = said(tokenizer, batch["document_input_ids"]), options["negatives"] + 1
        for i, query in enumerate(said(tokenizer, batch["query_input_ids"])):
            scores = batch["kd_scores"][i].tolist() if "kd_scores" in batch else None
            rows.append({"query": query, "texts": texts[i * width : (i + 1) * width], "scores": scores})
    answer(version="main 613ddfd", rows=rows, steps=0)


if __name__ == "__main__":
    main()
