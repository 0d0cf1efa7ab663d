"""PyLate's KDProcessing, its collator and steps of its distillation loss."""

from importlib.metadata import version

from datasets import load_dataset

from tests.exports.loaders.common import LENGTH, answer, minilm, said, told


def main() -> None:
    import torch
    from pylate import losses, models, utils

    folder, options = told()
    train, queries, documents = (load_dataset(str(folder), name, split="train") for name in ("train", "queries", "documents"))
    model = models.ColBERT(minilm(), device="cpu", document_length=LENGTH, query_length=LENGTH)
    train.set_transform(utils.KDProcessing(queries=queries, documents=documents, n_ways=options["ways"]).transform)
    collate, loss = utils.ColBERTCollator(model.tokenize), losses.Distillation(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-5)
    rows, steps = [], 0
    for start in range(0, len(train), 4):
        part = [train[i] for i in range(start, min(start + 4, len(train)))]
        batch = collate(part)
        texts = said(model.tokenizer, batch["documents_input_ids"])
        ways = len(texts) // len(part)
        for i, one in enumerate(part):
            rows.append({"query": one["query"], "documents": one["documents"], "scores": batch["label"][i].tolist(),
                         "reached": texts[i * ways : (i + 1) * ways]})  # fmt: skip
        if steps < 2:
            features = [{k.removeprefix(f"{name}_"): v for k, v in batch.items() if k.startswith(f"{name}_")} for name in ("query", "documents")]
            value = loss(features, batch["label"])
            value.backward()
            optimiser.step()
            steps += bool(torch.isfinite(value))
    answer(version=version("pylate"), rows=rows, steps=steps)


if __name__ == "__main__":
    main()
