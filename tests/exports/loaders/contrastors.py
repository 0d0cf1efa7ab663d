"""contrastors' streaming reader over local shards, as it is in its repository (in no registry), in a group of one process."""

import os
import shutil
from pathlib import Path

from tests.exports.loaders.common import LENGTH, answer, minilm, said, told


def main() -> None:
    os.environ["LOCAL_RANK"] = "0"
    import torch.distributed as dist
    from contrastors.dataset.text_text_loader import StreamingShardDataset
    from transformers import AutoTokenizer

    folder, options = told()
    dist.init_process_group("gloo", init_method=f"file://{folder.parent}/group", rank=0, world_size=1)
    spec = folder.parent / "spec.yaml"
    spec.write_bytes((folder / "data.yaml").read_bytes())  # it writes beside it
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    data = StreamingShardDataset(str(spec), global_batch_size=2, tokenizer=tokenizer, seed=1, add_eos=False, add_prefix=False,
                                 num_negatives=options["negatives"], download_locally=True, verbose=False, run_name="test",
                                 query_max_length=LENGTH, document_max_length=LENGTH)  # fmt: skip
    rows = []
    for batch in data:
        texts, width = said(tokenizer, batch["document_input_ids"]), options["negatives"] + 1
        for i, query in enumerate(said(tokenizer, batch["query_input_ids"])):
            scores = batch["kd_scores"][i].tolist() if "kd_scores" in batch else None
            rows.append({"query": query, "texts": texts[i * width : (i + 1) * width], "scores": scores})
    # Where it keeps its copies, whatever TMPDIR says.
    shutil.rmtree(Path("/tmp") / folder.name, ignore_errors=True)
    shutil.rmtree(Path("/tmp") / str(folder).lstrip("/"), ignore_errors=True)
    answer(version="main 613ddfd", rows=rows, steps=0)


if __name__ == "__main__":
    main()
