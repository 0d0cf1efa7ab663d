"""Release 0.1: its preprocessor, data set, collator, and steps of its dense model's contrastive loss."""

from importlib.metadata import version
from types import SimpleNamespace

from tests.exports.loaders.common import LENGTH, answer, minilm, said, told


def main() -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder, options = told()
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    trainer = SimpleNamespace(state=SimpleNamespace(epoch=0), args=SimpleNamespace(seed=1))
    encoder = AutoModel.from_pretrained(minilm())
    pairs = MAKERS[options["main"]](folder, options, tokenizer, trainer)
    rows, steps = [], 0
    for query, passages in pairs:
        rows.append({"query": said(tokenizer, query["input_ids"])[0], "texts": said(tokenizer, passages["input_ids"])})
        if steps < 3:  # the loss of its DenseModel: dot products of [CLS], cross entropy
            q, d = (encoder(**{k: x[k] for k in ("input_ids", "attention_mask")}).last_hidden_state[:, 0] for x in (query, passages))
            loss = torch.nn.functional.cross_entropy(q @ d.T, torch.zeros(1, dtype=torch.long))
            loss.backward()
            steps += bool(torch.isfinite(loss))
    answer(version=version("tevatron") if not options["main"] else "main dd06310", rows=rows, steps=steps)


def release(folder, options, tokenizer, trainer):
    """Version 0.1.0 of the registry."""
    from tevatron.arguments import DataArguments
    from tevatron.data import QPCollator, TrainDataset
    from tevatron.datasets import HFTrainDataset
    from tevatron.datasets.preprocessor import TrainPreProcessor

    args = DataArguments(dataset_name="json", train_n_passages=options["group"], q_max_len=LENGTH, p_max_len=LENGTH)
    args.train_path, args.dataset_split, args.dataset_language = [str(folder / "train.jsonl")], "train", "default"
    data = HFTrainDataset(tokenizer, args, str(folder.parent / "cache"))
    data.preprocessor = TrainPreProcessor
    data.proc_num = None
    tokenizer.encode_plus = lambda ids, **kw: tokenizer.prepare_for_model(ids, **{**kw, "truncation": "only_first"}) if hasattr(
        tokenizer, "prepare_for_model") else {"input_ids": [tokenizer.cls_token_id, *ids[: kw["max_length"] - 2], tokenizer.sep_token_id]}  # fmt: skip
    rows = TrainDataset(args, data.process(), tokenizer, trainer)
    collate = QPCollator(tokenizer, max_q_len=LENGTH, max_p_len=LENGTH)
    return (collate([rows[i]]) for i in range(len(rows)))


def main_branch(folder, options, tokenizer, trainer):
    """The main branch, which is in no registry."""
    from tevatron.retriever.arguments import DataArguments
    from tevatron.retriever.collator import TrainCollator
    from tevatron.retriever.dataset import DistilTrainDataset, TrainDataset

    beside = {"corpus_name": "json", "corpus_path": str(folder / "corpus.jsonl")} if (folder / "corpus.jsonl").exists() else {}
    args = DataArguments(dataset_name="json", dataset_path=str(folder / "train.jsonl"), train_group_size=options["group"],
                         query_max_len=LENGTH, passage_max_len=LENGTH, query_prefix="", passage_prefix="", append_eos_token=False,
                         dataset_cache_dir=str(folder.parent / "cache"), **beside)  # fmt: skip
    args.num_proc = None
    rows = (DistilTrainDataset if options["scores"] else TrainDataset)(args, trainer)
    collate = TrainCollator(args, tokenizer)
    return (collate([rows[i][:2]]) for i in range(len(rows)))


MAKERS = [release, main_branch]

if __name__ == "__main__":
    main()
