"""A trained student: it learns, the same bytes from the same rows whatever the cut, losses against a slow oracle, masks, batches."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import InputError, ids, scores
from operators.engines import load_model, packaged
from operators.engines.student import Row, Settings, Student, loss
from operators.train_student import TrainStudent, _steps, example, train_student
from tests.operators.test_laws import stored

CASE = example()


def trained(params: TrainStudent, rows: pa.Table = CASE.table, encoder: str = "static", cuts: tuple[int, ...] = ()) -> Student:
    used = {**CASE.used, "encoder": load_model("encoder", packaged("encoder", encoder))}
    edges = [0, *cuts, len(rows)]
    folds = [train_student(params, **used) for _ in edges[1:]]
    for fold, a, b in zip(folds, edges, edges[1:], strict=False):
        fold.add(rows.slice(a, b - a), 0)
    for later in folds[1:]:
        folds[0].merge(later)
    return folds[0].finish()


def margins(student: Student) -> list[float]:
    """How far each query's positive is above the best other passage."""
    asked = CASE.table["query"].to_pylist()
    told = CASE.used["texts"].take(pa.array([p[0] for p in CASE.table["positive_ids"].to_pylist()], ids.value_type)).to_pylist()
    found = student.encode(asked, "query") @ student.encode(told, "passage").T
    return [float(row[i] - np.delete(row, i).max()) for i, row in enumerate(found)]


def saved(student: Student, folder: Path) -> dict[str, object]:
    folder.mkdir()
    student.save(folder)
    return {p.name: stored(p) for p in folder.iterdir()}


@pytest.mark.parametrize("how", [{}, {"negatives": 2}, {"loss": "listwise", "negatives": 2, "teacher_temperature": 0.02}])
def test_it_learns_its_rows(how: dict) -> None:
    before = margins(CASE.used["encoder"])
    after = margins(trained(TrainStudent(epochs=20, learning_rate=0.02, batches="random", batch_size=4, **how)))
    taught = 3 if "loss" in how else 4  # the last row has no negative, so no list
    assert min(after[:taught]) > min(before[:taught]) + 0.1


def test_a_transformer_learns_and_starts_from_weights_that_nobody_else_has() -> None:
    base = load_model("encoder", packaged("encoder"))
    first = base.encode(["owls"], "query").tolist()
    before = margins(base)
    student = trained(TrainStudent(epochs=3, learning_rate=3e-4, negatives=2, max_tokens=16), encoder="minilm")
    assert min(margins(student)) > min(before) + 0.02
    assert base.encode(["owls"], "query").tolist() == first


def test_computing_groups_again_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    params = TrainStudent(learning_rate=1e-3, max_tokens=16, dtype="bfloat16")
    whole = trained(params, encoder="minilm").encode(["owls"], "query")
    monkeypatch.setattr("operators.engines.student._HELD", 0)
    assert trained(params, encoder="minilm").encode(["owls"], "query").tobytes() == whole.tobytes()


@pytest.mark.parametrize("encoder", ["static", "minilm", "minilm-bfloat16"])
def test_what_is_saved_is_loaded_and_has_no_word_embeddings_that_did_not_move(encoder: str, tmp_path: Path) -> None:
    dtype = "bfloat16" if encoder == "minilm-bfloat16" else "float32"
    student = trained(TrainStudent(learning_rate=1e-3, dtype=dtype), encoder=encoder)
    files = saved(student, tmp_path / "a")
    again = Student.load(tmp_path / "a")
    assert again.entry == student.entry == load_model("encoder", packaged("encoder", encoder)).entry
    if encoder != "static":  # base and student are compared: they encode alike
        [kind] = {p.dtype for p in again._encoder.model.parameters()}
        assert str(kind) == f"torch.{student.entry.dtype}"
    texts = ["owls hunt at night", "bread", ""]
    assert np.array_equal(again.encode(texts, "passage"), student.encode(texts, "passage"))
    assert sorted(files) == ["model.safetensors", "student.json"]
    assert len(files["model.safetensors"]) < 50e6
    assert saved(again, tmp_path / "b") == files


@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])
@given(st.lists(st.integers(0, 4), max_size=3).map(sorted), st.sampled_from(["set", "random"]), st.integers(0, 2))
def test_no_cut_changes_a_weight(cuts: list[int], batches: str, seed: int) -> None:
    size = {"batch_size": 2} if batches == "random" else {}
    params = TrainStudent(batches=batches, seed=seed, negatives=1, **size)
    texts = ["owls hunt at night", "why does iron rust"]
    whole, cut = trained(params).encode(texts, "query"), trained(params, cuts=tuple(cuts)).encode(texts, "query")
    assert whole.tobytes() == cut.tobytes()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    params = TrainStudent(batches="random", batch_size=2)
    first = saved(trained(params), tmp_path / "a")
    assert saved(trained(params), tmp_path / "b") == first
    assert saved(trained(params.model_copy(update={"seed": 3})), tmp_path / "c") != first


def test_the_order_of_rows_changes_nothing_where_batches_are_the_sets(tmp_path: Path) -> None:
    turned = CASE.table.take(pa.array([3, 1, 0, 2]))
    assert saved(trained(CASE.params, turned), tmp_path / "a") == saved(trained(CASE.params), tmp_path / "b")


@given(st.integers(0, 3), st.integers(0, 2**32), st.integers(1, 3))
def test_composed_batches_stay_whole_and_stages_in_order(seed: int, draw: int, epochs: int) -> None:
    random = np.random.default_rng(draw)
    batch = np.sort(random.integers(0, 6, 30))
    stage = (batch >= 3).astype(np.int32)
    table = pa.table({"batch": pa.array(batch, pa.int64()), "stage": pa.array(stage), "position": pa.array(np.arange(30), pa.int64())})
    steps = _steps(table, TrainStudent(seed=seed, epochs=epochs))
    whole = [np.flatnonzero(batch == b).tolist() for b in np.unique(batch)]
    assert sorted(s.tolist() for s in steps) == sorted(whole * epochs)
    for e in range(epochs):
        told = [int(stage[s[0]]) for s in steps[e * len(whole) : (e + 1) * len(whole)]]
        assert told == sorted(told)


def softmax(values: list[float]) -> np.ndarray:
    wide = np.exp(np.array(values) - max(values))
    return wide / wide.sum()


@given(st.integers(0, 2**32), st.floats(0.1, 2), st.floats(0, 2), st.floats(0, 2))
def test_the_loss_is_its_definition(draw: int, temperature: float, contrastive: float, listwise: float) -> None:
    import torch

    random = np.random.default_rng(draw)
    pool = list(range(6))
    logits = random.normal(size=(2, 6)).astype(np.float32)
    batch = [Row([], 0, [1], [4], [0, 1, 5], [0.9, 0.2, 0.4]), Row([], 2, [3], [], [3, 2], [0.1, 0.2])]
    s = Settings(contrastive, listwise, 1.0, temperature)
    expected = 0.0
    for row, values in zip(batch, logits.astype(np.float64), strict=True):
        seen = [p for p in pool if p not in row.masked]
        expected -= contrastive / 2 * np.log(softmax([values[p] for p in seen])[seen.index(row.positive)])
        wanted, own = softmax([x / temperature for x in row.scores]), softmax([values[p] for p in row.listed])
        expected += listwise / 2 * float((wanted * np.log(wanted / own)).sum())
    assert float(loss(torch.from_numpy(logits), batch, pool, s)) == pytest.approx(expected, abs=1e-4)


def test_a_positive_of_two_rows_is_no_negative_of_either() -> None:
    import torch

    both = [Row([], 0), Row([], 0)]
    assert float(loss(torch.zeros((2, 1)), both, [0], Settings())) == 0


def test_masks_move_the_student_and_what_is_masked_no_longer_counts() -> None:
    def weights(masked: bool) -> bytes:
        return trained(TrainStudent(negatives=1, masks=masked)).encode(["rain"], "query").tobytes()

    assert weights(True) != weights(False)
    nothing = CASE.table.set_column(CASE.table.schema.get_field_index("masked_ids"), "masked_ids", pa.array([[]] * 4, ids))
    assert trained(TrainStudent(negatives=1, masks=True), nothing).encode(["rain"], "query").tobytes() == weights(False)


def test_candidates_are_distilled_and_are_no_negatives() -> None:
    keys = [p[0] for p in CASE.table["positive_ids"].to_pylist()]
    found = pa.array([[keys[0], keys[1]], [keys[1], keys[2]], [keys[3], keys[2]], [keys[0], keys[3]]], ids)
    told = pa.array([[0.9, 0.1], [0.5, 0.6], [0.2, 0.9], [0.7, None]], scores)
    rows = CASE.table.append_column("candidate_ids", found).append_column("fused_scores", told)
    how = {"loss": "listwise", "negatives": 2, "candidates": "fused_scores", "contrastive": 0.0, "teacher_temperature": 0.05}
    student = trained(TrainStudent(epochs=60, learning_rate=0.02, **how), rows)
    texts = CASE.used["texts"].take(pa.array(keys, ids.value_type)).to_pylist()
    asked = CASE.table["query"].to_pylist()
    ranked = student.encode(asked, "query") @ student.encode(texts, "passage").T
    assert ranked[1, 2] > ranked[1, 1]  # as the teacher has it, against the pair
    assert ranked[0, 0] > ranked[0, 1]


@pytest.mark.parametrize(("how", "fault"), [
    ({"teacher_temperature": 0.5}, "belong to loss listwise"), ({"loss": "listwise"}, "needs negatives"),
    ({"batch_size": 8}, "batch_size does nothing"), ({"candidates": "x", "negatives": 2}, "belong to loss listwise"),
    ({"loss": "listwise", "negatives": 2, "contrastive": 0, "masks": True}, "masks do nothing"),
])  # fmt: skip
def test_options_that_do_nothing_are_refused(how: dict, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        TrainStudent(**how)


def test_without_a_row_it_says_so() -> None:
    none = CASE.table.set_column(CASE.table.schema.get_field_index("positive_ids"), "positive_ids", pa.array([[]] * 4, ids))
    with pytest.raises(InputError, match="no row has a positive"):
        trained(TrainStudent(), none)
