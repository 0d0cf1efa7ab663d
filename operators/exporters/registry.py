"""The trainers that `pithead export` knows, by the name that their users know them by."""

from importlib import import_module

from operators.exporters.options import Exporter

TRAINERS = {
    "sentence-transformers": "sentence_transformers", "FlagEmbedding": "flag_embedding", "BEIR": "beir",
    "datasets": "hf_datasets", "Tevatron": "tevatron", "PyLate": "pylate", "contrastors": "contrastors", "ms-swift": "swift",
    "NeMo-Automodel": "automodel", "lightning-ir": "lightning_ir",
    "WebDataset": "webdataset", "MosaicML": "mosaicml",
}  # fmt: skip


def exporter(trainer: str) -> Exporter:
    """The exporter of a trainer of `TRAINERS`."""
    found = import_module(f"operators.exporters.{TRAINERS[trainer]}").EXPORTER
    assert isinstance(found, Exporter)
    return found
