"""NeMo Automodel's loaders and transforms."""

from importlib.metadata import version

from tests.exports.loaders.common import answer, told


def main() -> None:
    from nemo_automodel.components.datasets.llm import retrieval_dataset, retrieval_dataset_inline

    folder, options = told()
    module = retrieval_dataset_inline if options["inline"] else retrieval_dataset
    data, corpora = module.load_datasets([str(folder / ("train.jsonl" if options["inline"] else "train.json"))])
    if options["inline"]:
        data.set_transform(module._create_retrieval_transform_func(options["negatives"], corpora))
    else:
        data.set_transform(module.RetrievalTransform(options["negatives"], corpora))
    rows = [{"query": one["question"], "texts": one["doc_text"]} for one in (data[i] for i in range(len(data)))]
    answer(version=version("nemo-automodel"), rows=rows, steps=0)


if __name__ == "__main__":
    main()
