"""Teachers on vLLM: yes/no relevance and query likelihood over an LLM, and a cross-encoder in the pooling engine."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from operators.engines.models import ModelEntry, Serving, packaged
from operators.engines.teacher import load_cross
from operators.engines.teacher_llm import LikelihoodTeacher, RelevanceTeacher
from operators.engines.vllm_llm import VllmLLM
from operators.engines.vllm_teacher import VllmTeacher, load_vllm_teacher

QUERIES = ["when do owls hunt", "when do owls hunt", "how does rsync copy files", "braces {passage}"]
PASSAGES = ["Owls hunt mice at night.", "Rsync copies only the parts of a file that changed.", "Bread needs yeast. " * 60, "é"]


def test_relevance_and_likelihood_are_the_engines_own_numbers(llm: VllmLLM, folder: Path) -> None:
    said = {"kind": "teacher", "model": str(folder), "llm": "vllm", "dtype": "bfloat16", "max_tokens": 1024}
    for name, cls in (("llm-relevance", RelevanceTeacher), ("llm-likelihood", LikelihoodTeacher)):
        prompt = packaged("teacher", "smollm2" + name.removeprefix("llm")).prompt
        teacher = cls(llm, ModelEntry.model_validate({**said, "backend": name, "prompt": prompt}))
        found = teacher.score(QUERIES, PASSAGES)
        asked = prompt.replace("{query}", QUERIES[0]).replace("{passage}", PASSAGES[0])
        if name == "llm-relevance":
            yes, no = (math.exp(float(a.text)) for a in llm.likelihood([asked] * 2, [" yes", " no"]))
            assert found[0] == pytest.approx(yes / (yes + no), abs=0.1)  # bfloat16: 0.03 between two companies
            assert ((found > 0) & (found < 1)).all()
        else:
            assert found[0] == pytest.approx(float(llm.likelihood([asked], [f" {QUERIES[0]}"])[0].text), abs=0.1)
            assert found[0] > found[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """A small BERT of one output with drawn weights: what matters here is that both engines read it alike."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    home = tmp_path_factory.mktemp("cross")
    words = sorted({w for t in [*QUERIES, *PASSAGES] for w in t.lower().replace(".", " .").split()} | set("abcdefghijklmnopqrstuvwxyz"))
    (home / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    made = BertWordPieceTokenizer(str(home / "vocab.txt"))
    BertTokenizerFast(tokenizer_object=made._tokenizer).save_pretrained(home)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=made.get_vocab_size(), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=128, num_labels=1, initializer_range=0.3,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(home)
    serving = Serving(options={"enforce_eager": True, "kv_cache_memory_bytes": 1 << 28})
    given = {"kind": "teacher", "model": str(home), "max_tokens": 64, "dtype": "float32", "activation": "sigmoid"}
    return ModelEntry.model_validate({**given, "backend": "vllm", "serving": serving})


@pytest.fixture(scope="module")
def teacher(saved: ModelEntry) -> Iterator[VllmTeacher]:
    pytest.importorskip("vllm", reason="vLLM is not installed here, it has an environment of its own: make test-vllm")
    made = load_vllm_teacher(saved)
    assert isinstance(made, VllmTeacher)
    yield made
    made.close()


def test_a_cross_encoder_scores_in_vllm_as_in_transformers(teacher: VllmTeacher, saved: ModelEntry) -> None:
    local = load_cross(ModelEntry.model_validate({**saved.model_dump(), "backend": "cross-encoder", "serving": {}}))
    expected, found = local.score(QUERIES, PASSAGES), teacher.score(QUERIES, PASSAGES)
    assert np.ptp(expected) > 0.01  # the pairs differ: token types and order show
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert teacher.space == local.space == "probability"
    assert teacher.counters == local.counters == {"teacher_pairs": 4, "teacher_texts": 8, "teacher_truncated": 1}
    assert teacher.score([], []).tolist() == []
