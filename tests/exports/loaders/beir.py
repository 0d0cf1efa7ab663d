"""The loader of `beir`; there is nothing to train."""

from importlib.metadata import version

from tests.exports.loaders.common import answer, told


def main() -> None:
    from beir.datasets.data_loader import GenericDataLoader

    folder, options = told()
    corpus, queries, qrels = GenericDataLoader(str(folder)).load(split=options["split"])
    answer(version=version("beir"), corpus=corpus, queries=queries, qrels=qrels, steps=0)


if __name__ == "__main__":
    main()
