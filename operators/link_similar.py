"""Link semantic duplicates: texts of one cluster whose vectors nearly coincide (SemDeDup, arXiv:2303.09540).

SemDeDup compares all pairs of a cluster and keeps one text of each heap. Here the texts of a cluster come by length, the
longest first; one that is like no representative before it becomes one. So n texts with k representatives cost n · k
products, and an edge always leads from a text to its representative: `fit_classes` (score: cosine) gives these classes.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, topk
from operators.content import indexed
from operators.contract import ROW, Columns, Example, Outcome, Params, operator, outcome_of, row_id, score, vector
from operators.index_texts import Texts

Array = np.ndarray[Any, Any]
_BLOCK = 512  # rows a matrix product
_NEAR = 1e-4  # float32 products of unit vectors are off by far less


class LinkSimilar(Params):
    """From what cosine on two texts are duplicates.

    It hangs on the encoder and on the corpus, and no default is right: `pithead show FLOW STEP --scores`, with the name of this
    step, tells the cosines of random pairs of a cluster, those of near-duplicates by words, and suggests a threshold of them.
    """

    threshold: float = Field(default=0.95, gt=0, le=1, description="least cosine")
    key: str = Field(default="passage_id", description="the column of the texts' ids")
    column: str = Field(default="vector", description="the column of unit vectors")


def _reads(p: LinkSimilar) -> Columns:
    return {"cluster": pa.int32(), p.key: row_id, p.column: vector}


@operator(
    "group", version="2", key="cluster", width=lambda p: 4, reads=_reads, closed=True, rises=lambda p: {"cosine": p.threshold},
    writes={"id_a": row_id, "id_b": row_id, "cosine": score},
)  # fmt: skip
def link_similar(table: pa.Table, p: LinkSimilar, *, texts: Texts) -> Outcome:
    """Rows with clusters in, edges of texts to their representatives out, id_a < id_b; other rows are rejects.

    Cosines are float64 products of the stored vectors, so that no cut moves one over the threshold.
    """
    known = texts.has(table[p.key])
    reasons = {int(i): ("no text has this id", "") for i in np.flatnonzero(~known)}
    names, cluster = columns.id_pairs(table[p.key]), table["cluster"].to_numpy()
    length = np.zeros(len(table), np.int64)
    length[known] = texts.lengths(table[p.key].filter(pa.array(known)))
    order = np.lexsort((table[ROW].to_numpy(), names["lo"], names["hi"], -length, cluster))
    order = order[known[order]]
    rows = columns.vectors(table[p.column])
    members, owners, said = [], [], []
    for part in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1):
        again = np.append(False, names[part][1:] == names[part][:-1])[: len(part)]
        reasons |= {int(i): ("its id is in the cluster already", "") for i in part[again]}
        part = part[~again]
        owner, cosine = _owners(rows[part], p.threshold)
        linked = owner >= 0
        led = np.isin(np.arange(len(part)), owner)
        reasons |= {int(i): ("nothing in its cluster is like it", "") for i in part[~linked & ~led]}
        reasons |= {int(i): ("a representative", "") for i in part[~linked & led]}
        members.append(part[linked])
        owners.append(part[owner[linked]])
        said.append(cosine[linked])
    member, owner = np.concatenate(members), np.concatenate(owners)
    a, b = names[member], names[owner]
    turned = (a["hi"] > b["hi"]) | ((a["hi"] == b["hi"]) & (a["lo"] > b["lo"]))
    ends = {"id_a": np.where(turned, owner, member), "id_b": np.where(turned, member, owner)}
    kept = {name: table[p.key].take(pa.array(at)) for name, at in ends.items()}
    made = pa.table({**kept, "cosine": pa.array(np.concatenate(said), score), ROW: table[ROW].take(pa.array(member))})
    return outcome_of(table, made, reasons)


def _owners(rows: Array, threshold: float) -> tuple[Array, Array]:
    """The first representative that each row (N, d) is like, by place, -1 of those that are one themselves; and the cosine."""
    owner, cosine = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.float64)
    leaders: list[int] = []
    for start in range(0, len(rows), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(rows)))
        before = len(leaders)
        near = rows[block] @ rows[[*leaders, *block]].T >= threshold - _NEAR
        for i in block.tolist():
            places = np.flatnonzero(near[i - start, :before])
            inside = [j for j in leaders[before:] if near[i - start, before + j - start]]
            for j in [*(leaders[k] for k in places), *inside]:
                found = float(topk.dots(rows[i], rows[j : j + 1])[0])
                if found >= threshold:
                    owner[i], cosine[i] = j, found
                    break
            else:
                leaders.append(i)
    return owner, cosine


def example() -> Example:
    """Two clusters: of three texts two are alike, one is alone."""
    ids, texts = indexed(["iron rusts in rain", "iron rusts when it rains", "owls hunt", "bread needs yeast"])
    rows = np.array([[1, 0], [0.998, 0.063], [0.5, 0.866], [0, 1]], np.float32)
    table = pa.table({
        "passage_id": pa.array(ids, row_id), "vector": pa.array(list(rows), vector),
        "cluster": pa.array([0, 0, 0, 5], pa.int32()),
    })  # fmt: skip
    return Example(table.sort_by("cluster"), LinkSimilar(), {"texts": texts})
