"""A row's vector hangs on its text and the anchors alone; a title is read with its passage."""

import numpy as np
import pyarrow as pa

from operators.columns import shown, vectors
from operators.contract import apply, text
from operators.embed_by_teacher import EmbedByTeacher, embed_by_teacher, example
from operators.fit_anchors import scored


def test_a_passage_is_what_the_teacher_says_of_it_beside_the_anchor_queries():
    one = example()
    out = apply(embed_by_teacher, one.table, one.params, **one.used)
    anchors, teacher = one.used["anchors"], one.used["teacher"]
    expected = scored(teacher, anchors.queries, shown(one.table.slice(0, 3)))
    assert vectors(out.table["teacher_vector"]).tolist() == expected.T.tolist()
    assert shown(one.table)[1] == "Owls\nThey hunt at night."
    assert len(out.rejects) == 1


def test_a_query_is_its_scores_beside_the_anchor_passages_through_the_link():
    one = example()
    anchors, teacher = one.used["anchors"], one.used["teacher"]
    asked = pa.table({"query": pa.array(["why does iron rust", "what flies at night"], text)})
    p = EmbedByTeacher(column="query", into="by")
    out = apply(embed_by_teacher, asked, p, **one.used).table
    expected = scored(teacher, asked["query"].to_pylist(), anchors.passages).astype("f8") @ anchors.link
    np.testing.assert_allclose(vectors(out["by"]), expected, rtol=1e-5, atol=1e-7)
