"""SmolLM2 as a folder of bfloat16 weights, and one engine that the tests share."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from operators.engines.models import ModelEntry, Serving, gguf_file, packaged, place
from operators.engines.transformers_llm import _parsed_once
from operators.engines.vllm_llm import VllmLLM, load_vllm

SEQUENCES = 16  # answered side by side: few, so that feeding shows
SERVING = Serving(options={"enforce_eager": True, "max_num_seqs": SEQUENCES, "kv_cache_memory_bytes": 1 << 30})


def save_smollm2(folder: Path) -> Path:
    """Write the packaged .gguf as plain bfloat16 weights with tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    file = gguf_file(place(packaged("llm").model))
    given = {"gguf_file": file.name}
    with _parsed_once():
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent), dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **given
        )
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **given)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The saved model; PITHEAD_SMOLLM2 names one that is there already."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed here, it has an environment of its own: make test-vllm")
    given = os.environ.get("PITHEAD_SMOLLM2")
    return Path(given) if given else save_smollm2(tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="session")
def entry(folder: Path) -> ModelEntry:
    return ModelEntry(kind="llm", backend="vllm", model=str(folder), dtype="bfloat16", max_tokens=1024, serving=SERVING)


@pytest.fixture(scope="module")
def llm(entry: ModelEntry) -> Iterator[VllmLLM]:
    model = load_vllm(entry)
    yield model
    model.close()
