"""MTEB's loader of retrieval tasks over the folder."""

from importlib.metadata import version

from tests.exports.loaders.common import answer, told


def main() -> None:
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader

    folder, options = told()
    found = RetrievalDatasetLoader(hf_repo=str(folder), revision=None, trust_remote_code=False, split=options["split"], config=None).load()
    answer(version=version("mteb"), corpus={r["id"]: {"title": r["title"], "text": r["text"]} for r in found["corpus"]},
           queries={r["id"]: r["text"] for r in found["queries"]}, qrels=found["relevant_docs"],
           instructions={r["id"]: r["instruction"] for r in found["queries"] if "instruction" in r}, steps=0)  # fmt: skip


if __name__ == "__main__":
    main()
