"""ms-swift's loader and preprocessor, its template's encoding for the task, and its collator."""

from importlib.metadata import version

from tests.exports.loaders.common import answer, told


def main() -> None:
    from swift.dataset import load_dataset

    folder, options = told()
    data, _ = load_dataset(str(folder / "train.jsonl"), strict=True)
    keys = ("messages", "positive_messages", "negative_messages")
    answer(version=version("ms-swift"), rows=[{k: row[k] for k in keys} for row in data], steps=0)


if __name__ == "__main__":
    main()
