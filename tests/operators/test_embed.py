"""Embed: a vector a row, by title and passage, whatever the cut."""

import numpy as np
import pyarrow as pa
import pytest

from cluster.store import Store
from operators import columns
from operators.contract import InputError, apply, text
from operators.embed import Embed, embed, example
from operators.engines import load_model, packaged


def _table(titles: list[str], passages: list[str]) -> pa.Table:
    return pa.table({"title": pa.array(titles, text), "passage": pa.array(passages, text)})


def test_a_title_stands_on_a_line_above_its_passage() -> None:
    encoder = load_model("encoder", packaged("encoder"))
    out = apply(embed, _table(["Owls", ""], ["hunt", "Owls\nhunt"]), Embed(), encoder=encoder).table
    found = columns.vectors(out["vector"])
    assert found[0].tobytes() == found[1].tobytes() == encoder.encode(["Owls\nhunt"], "passage")[0].tobytes()


def test_every_cut_gives_the_same_bytes() -> None:
    case = example()
    whole = apply(embed, case.table, case.params, **case.used).table
    parts = [apply(embed, case.table.slice(i, 1), case.params, **case.used).table for i in range(len(case.table))]
    assert pa.concat_tables(parts)["vector"].combine_chunks() == whole["vector"].combine_chunks()
    assert np.allclose(np.linalg.norm(columns.vectors(whole["vector"]), axis=1), 1)
    assert apply(embed, case.table.slice(0, 0), case.params, **case.used).table.num_rows == 0


def test_a_text_without_a_vector_is_rejected_with_its_text() -> None:
    static = load_model("encoder", packaged("encoder", "static"))
    out = apply(embed, _table(["", "", ""], ["owls", " ", "rain"]), Embed(), encoder=static)
    assert out.table["passage"].to_pylist() == ["owls", "rain"]
    assert out.rejects.select(["reason", "value"]).to_pylist() == [{"reason": "the vector is zero", "value": " "}]


@pytest.mark.parametrize(("params", "reads"), [(Embed(column="query"), {"query"}), (Embed(), {"title", "passage"})])
def test_only_a_passage_needs_a_title(params: Embed, reads: set[str]) -> None:
    assert set(embed.columns_read(params)) == reads


def test_a_query_is_encoded_in_its_own_role_unless_told_otherwise() -> None:
    entry = packaged("encoder", "static").model_copy(update={"query_prompt": "find "})
    encoder = load_model("encoder", entry)
    table = pa.table({"query": pa.array(["owls"], text)})
    asked = columns.vectors(apply(embed, table, Embed(column="query"), encoder=encoder).table["vector"])
    told = columns.vectors(apply(embed, table, Embed(column="query", role="passage"), encoder=encoder).table["vector"])
    assert asked.tobytes() == encoder.encode(["find owls"], "passage").tobytes()
    assert told.tobytes() == encoder.encode(["owls"], "passage").tobytes()


def test_a_shorter_vector_is_the_start_of_the_whole_and_a_unit_again() -> None:
    case = example()
    whole = columns.vectors(apply(embed, case.table, case.params, **case.used).table["vector"])
    short = apply(embed, case.table, Embed(dims=64, into="short"), **case.used).table
    found = columns.vectors(short["short"])
    assert "vector" not in short.column_names
    assert np.allclose(found, whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True), atol=1e-6)
    with pytest.raises(InputError, match="dims is 385, this encoder's vectors have 384 numbers"):
        embed(case.table, Embed(dims=385), **case.used)


def test_half_precision_takes_half_of_the_store_and_hardly_moves_a_score(tmp_path) -> None:
    static = load_model("encoder", packaged("encoder", "static"))
    given = _table([""] * 400, [f"owls number {i} hunt near barn {i * 7}" for i in range(400)])
    whole, half = (apply(embed, given, Embed(precision=p), encoder=static).table for p in ("float32", "float16"))
    a, b = columns.vectors(whole["vector"]), columns.vectors(half["vector"])
    assert b.tobytes() == a.astype(np.float16).astype(np.float32).tobytes()
    assert np.abs(a @ a.T - b @ b.T).max() < 5e-4
    store = Store(str(tmp_path))
    for name, table in (("whole", whole), ("half", half)):
        store.write_table(f"{name}.parquet", [table.select(["vector"])])
    sizes = [(tmp_path / f"{name}.parquet").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.65 * sizes[1]
