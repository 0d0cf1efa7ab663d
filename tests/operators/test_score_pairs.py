"""The cosine of a pair is what a dense search would store, and carries its encoder's name."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators import columns
from operators.contract import Params, apply, row_id
from operators.engines import load_model, packaged
from operators.retrieve_dense import RetrieveDense, retrieve_dense
from operators.score_pairs import ScorePairs, example, name_of, score_pairs


def test_the_cosine_is_the_score_of_a_dense_search_to_the_bit():
    case = example()
    out = apply(score_pairs, case.table, case.params, **case.used).table
    encoder = case.used["encoder"]
    passages = encoder.encode(columns.shown(case.table), "passage")
    left = out.append_column("query_id", columns.content_ids(list("abcd")))
    right = pa.table({
        "passage_id": pa.array([bytes([i]) * 16 for i in range(4)], row_id),
        "vector": columns.lists(np.arange(5) * encoder.dim, pa.array(passages.reshape(-1))),
    })  # fmt: skip
    found = retrieve_dense(left, right, RetrieveDense(top_k=4)).to_pylist()
    for i, row in enumerate(found):
        assert dict(zip(row["candidate_ids"], row["dense_scores"], strict=True))[bytes([i]) * 16] == out["similarity"][i].as_py()


def test_the_name_of_an_encoder_differs_where_its_vectors_may():
    minilm, static = packaged("encoder", "minilm"), packaged("encoder", "static")
    prompted = minilm.model_copy(update={"query_prompt": "query: "})
    served = minilm.model_copy(update={"serving": minilm.serving.model_copy(update={"concurrency": 3})})
    assert len({name_of(e) for e in (minilm, static, prompted, packaged("encoder", "minilm-bfloat16"))}) == 4
    assert name_of(served) == name_of(minilm)


def test_each_side_is_encoded_in_its_role():
    encoder = load_model("encoder", packaged("encoder", "static").model_copy(update={"query_prompt": "winter ", "passage_prompt": "bread "}))
    case = example()
    out = apply(score_pairs, case.table, ScorePairs(vector="v"), encoder=encoder).table
    one, other = encoder.encode(case.table["query"].to_pylist(), "query"), encoder.encode(columns.shown(case.table), "passage")
    assert np.array_equal(columns.vectors(out["v"]), one)
    assert np.allclose(out["similarity"].to_numpy(), (one * other).sum(axis=1), atol=1e-6)


def test_columns_of_one_name_are_refused_and_the_vector_is_kept_only_where_it_is_asked_for():
    with pytest.raises(ValidationError, match="both name the column"):
        ScorePairs(into="x", vector="x_by")
    case = example()
    out = apply(score_pairs, case.table, ScorePairs(into="s"), encoder=load_model("encoder", packaged("encoder", "static"))).table
    assert {*out.column_names} == {*case.table.column_names, "s", "s_by", "_row"}
    assert out["s_by"].to_pylist() == [name_of(packaged("encoder", "static"))] * 4
    assert isinstance(case.params, Params)
