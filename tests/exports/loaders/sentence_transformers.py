"""One epoch of the trainer with the named loss; what reached it is told, decoded from its tokens."""

from datasets import load_dataset

from tests.exports.loaders.common import LENGTH, answer, minilm, said, told


def main() -> None:
    import sentence_transformers as st
    import torch

    folder, options = told()
    cross = options["loss"] in ("BinaryCrossEntropyLoss", "LambdaLoss", "ListNetLoss")
    train = {d.name: load_dataset("parquet", data_files=str(d / "*.parquet"), split="train") for d in sorted((folder / "train").iterdir())}
    import json

    prompts = json.loads((folder / "prompts.json").read_text()) if (folder / "prompts.json").exists() else None
    if cross:
        from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments, losses

        model = CrossEncoder(minilm(), num_labels=1, max_length=LENGTH, device="cpu")
        Trainer, Arguments = CrossEncoderTrainer, CrossEncoderTrainingArguments
    else:
        from sentence_transformers import SentenceTransformer as Model
        from sentence_transformers import SentenceTransformerTrainer as Trainer
        from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
        from sentence_transformers import losses

        model = Model(minilm(), device="cpu")
        model.max_seq_length = LENGTH
    inner = getattr(losses, options["loss"])(model)
    seen: list[dict] = []

    class Watched(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, features, labels=None):
            texts = features if cross else [said(model.tokenizer, f["input_ids"]) for f in features]
            seen.append({"texts": texts, "labels": None if labels is None else [x.tolist() for x in labels]})
            return self.inner(features, labels)

    args = Arguments(output_dir=str(folder.parent / "out"), num_train_epochs=1, per_device_train_batch_size=4, report_to=[], use_cpu=True,
                     save_strategy="no", logging_steps=1, **({"prompts": prompts} if prompts else {}))  # fmt: skip
    trainer = Trainer(model=model, args=args, train_dataset=train, loss=Watched())
    result = trainer.train()
    answer(version=st.__version__, rows={k: len(v) for k, v in train.items()}, columns={k: v.column_names for k, v in train.items()},
           batches=seen, steps=result.global_step, loss=result.training_loss)  # fmt: skip


if __name__ == "__main__":
    main()
