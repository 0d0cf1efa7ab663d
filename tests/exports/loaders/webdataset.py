"""WebDataset over the tar files."""

from importlib.metadata import version

from tests.exports.loaders.common import answer, told


def main() -> None:
    import webdataset

    folder, _ = told()
    data = webdataset.WebDataset(sorted(map(str, folder.glob("*.tar"))), shardshuffle=False).decode()
    answer(version=version("webdataset"), rows=[one["json"] for one in data], steps=0)


if __name__ == "__main__":
    main()
