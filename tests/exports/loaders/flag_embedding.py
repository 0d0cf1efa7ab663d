"""FlagEmbedding's data set and collator over the files, and steps of its own dense loss."""

from importlib.metadata import version

from tests.exports.loaders.common import LENGTH, answer, minilm, said, told


def main() -> None:
    import torch
    from FlagEmbedding.abc.finetune.embedder.AbsArguments import AbsEmbedderDataArguments
    from FlagEmbedding.abc.finetune.embedder.AbsDataset import AbsEmbedderSameDatasetCollator, AbsEmbedderSameDatasetTrainDataset
    from FlagEmbedding.finetune.embedder.encoder_only.base.modeling import BiEncoderOnlyEmbedderModel
    from transformers import AutoModel, AutoTokenizer

    folder, options = told()
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    args = AbsEmbedderDataArguments(
        train_data=[str(folder / "train")], train_group_size=options["group"], cache_path=str(folder.parent / "cache"),
        knowledge_distillation=options["scores"], query_instruction_for_retrieval="" if options["told"] else None,
        query_instruction_format="{}|{}" if options["told"] else "{}{}", max_example_num_per_dataset=10**6, small_threshold=0,
    )  # fmt: skip
    if not options["told"]:
        args.query_instruction_for_retrieval = ""
    data = AbsEmbedderSameDatasetTrainDataset(args, default_batch_size=1, seed=1, tokenizer=tokenizer)
    collate = AbsEmbedderSameDatasetCollator(tokenizer, query_max_len=LENGTH, passage_max_len=LENGTH, sub_batch_size=-1)
    model = BiEncoderOnlyEmbedderModel(AutoModel.from_pretrained(minilm()), tokenizer=tokenizer, kd_loss_type="kl_div")
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    rows, steps = [], 0
    for i in range(len(data)):
        batch = collate([data[i]])
        rows.append({"query": said(tokenizer, batch["queries"]["input_ids"])[0], "texts": said(tokenizer, batch["passages"]["input_ids"]),
                     "scores": batch["teacher_scores"], "apart": batch["no_in_batch_neg_flag"]})  # fmt: skip
        if steps < 3:
            loss = model(**{k: v for k, v in batch.items()}).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            steps += bool(torch.isfinite(loss))
    answer(version=version("FlagEmbedding"), rows=rows, steps=steps)


if __name__ == "__main__":
    main()
