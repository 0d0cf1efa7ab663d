"""lightning-ir's RunDataset over each run."""

from importlib.metadata import version

from tests.exports.loaders.common import answer, told


def main() -> None:
    from lightning_ir.data.dataset import RunDataset

    folder, options = told()
    rows = []
    for run in sorted((folder / "runs").iterdir()):
        data = RunDataset(run, targets=options["targets"])
        for i in range(len(data)):
            one = data[i]
            rows.append({"id": one.query_id, "query": one.query, "ids": list(one.doc_ids), "texts": list(one.docs),
                         "targets": one.targets.flatten().tolist(), "qrels": {q["doc_id"]: q["relevance"] for q in one.qrels}})  # fmt: skip
    answer(version=version("lightning-ir"), rows=rows, steps=0)


if __name__ == "__main__":
    main()
