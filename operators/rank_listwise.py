"""Have an LLM put each query's passages in order, several at a time: a teacher that compares instead of scoring.

RankGPT (arXiv:2304.09542, section 3.2): a window slides over the list from its end to its start, so that the best rise.
E²Rank (arXiv:2510.22733) trains on such orders of 16 passages. A window's passages are shown shuffled, since models
favour places; two orders of one list say how far the answer is the model's own opinion (Kendall's τ).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, WithJsonSchema, model_validator

from operators import columns
from operators.answers import spoken
from operators.content import indexed, told
from operators.contract import (
    Columns,
    Example,
    Needs,
    Outcome,
    Params,
    flag,
    ids,
    operator,
    outcome_of,
    row_id,
    score,
    scores,
    text,
)
from operators.engines.llm import LLM, Answer, Request, Sampling
from operators.index_texts import Texts
from operators.template import Template, asking_faults

LIST, COUNT = "passages", "count"  # placeholders: the numbered passages of a window, and how many they are
_NAMED, _BARE = re.compile(r"\[(\d{1,4})\]"), re.compile(r"\d{1,4}")
_ITEM = re.compile(r"\s*\(?\d{1,3}[.):]\s+\D*(\d{1,4})\b\D*")  # 1. Passage 3
_ONLY = re.compile(r"[\s\d,;>]*\d[\s\d,;>.]*")


class RankListwise(Params):
    """How many passages are compared, how many at a time, and how often."""

    prompt: Annotated[Template, WithJsonSchema({"type": "string", "description": "a prompt file with {passages}"})]
    max_candidates: int = Field(default=15, ge=1, description="so many are ranked beside the positives, the rest are null")
    window: int = Field(default=20, ge=2, description="passages that one prompt shows")
    step: int = Field(default=10, ge=1, description="places that the window moves")
    orders: int = Field(default=2, ge=1, description="times that a list is asked for, each shuffled in its own way")
    max_column_tokens: int = Field(default=128, ge=1, description="of a passage, in the model's own tokens")
    max_tokens: int = Field(default=128, ge=1, description="of an answer: about five a passage of a window")
    seed: int = Field(default=0, ge=0)
    scores: str = Field(default="listwise_scores", min_length=1, description="of the candidates")
    positives: str = Field(default="listwise_positives", min_length=1, description="of the positives")

    @model_validator(mode="after")
    def _every_place_is_seen(self) -> Self:
        if self.step >= self.window:
            raise ValueError("step must be below window, else the windows of a list do not touch")
        if LIST not in self.prompt.columns:
            raise ValueError(f"prompt: it must show {{{LIST}}}, the numbered passages")
        if self.prompt.answer in ("json", "lines"):
            raise ValueError(f"prompt: an order is a text, such as [2] > [1]; answer: {self.prompt.answer} is none")
        fixed = {name: name for name in ("listwise_repaired", "listwise_agreement")}
        columns.apart(scores=self.scores, positives=self.positives, **fixed)
        return self


def _shown_of(p: RankListwise) -> list[str]:
    return sorted({"query", *p.prompt.columns} - {LIST, COUNT})


def _reads(p: RankListwise) -> Columns:
    return {"query_id": row_id, "positive_ids": ids, "candidate_ids": ids, **dict.fromkeys(_shown_of(p), text)}


def _writes(p: RankListwise) -> Columns:
    both = {"listwise_agreement": score} if p.orders > 1 else {}
    return {p.scores: scores, p.positives: scores, "listwise_repaired": flag, **both}


def _calls(p: RankListwise, models: Mapping[str, Any]) -> dict[str, int]:
    """A positive beside the candidates adds a window at most."""
    return {"": p.orders * (1 + -(-max(p.max_candidates - p.window, 0) // p.step)), "positive_ids": p.orders}


def _check(p: RankListwise, using: Mapping[str, Any]) -> list[str]:
    return asking_faults("rank_listwise", p.prompt.chat, p.prompt.fixed, p.max_tokens, using.get("llm"))


@dataclass
class _List:
    """One list under way: its passages in their order of now."""

    row: int
    turn: int  # which of the orders
    names: list[bytes]
    repaired: bool = False
    fault: tuple[str, str] = ("", "")
    windows: Iterator[int] = field(default_factory=lambda: iter(()))  # starts, the last of the list first


@operator(
    "map", version="1", reads=_reads, writes=_writes, rows="fewer", needs=Needs(batch_rows=4096), calls=_calls, check=_check,
)  # fmt: skip
def rank_listwise(table: pa.Table, p: RankListwise, *, llm: LLM, texts: Texts) -> Outcome:
    """Add scores from 1, the first, evenly down to 0, the last: the mean over the orders, aligned to their ids.

    ``listwise_agreement`` is the mean Kendall τ of two orders, 1 of a list of one. An answer that leaves passages out is
    ``listwise_repaired``: they follow in the order that they had. An answer that names none makes its row a reject.
    """
    lists = _lists(table, p)
    every = told(texts, (name for one in lists for name in one.names))
    shown = {i: " ".join(llm.cut(one, p.max_column_tokens).split()) for i, one in every.items()}  # on a line each
    values = table.select(_shown_of(p)).to_pylist()
    keys = table["query_id"].to_pylist()
    while open_ := [(one, start) for one in lists if not one.fault[0] and (start := next(one.windows, None)) is not None]:
        asked = [_asked(one, start, p, keys[one.row], values[one.row], shown) for one, start in open_]
        answers = llm.complete([request for request, _ in asked], Sampling(p.max_tokens, 0, 1, p.prompt.ends))
        for (one, start), (_, order), answer in zip(open_, asked, answers, strict=True):
            if answer.fault:
                one.fault = (answer.fault, answer.text)
            else:
                _place(one, start, order, answer)
    return _outcome(table, p, lists)


def _lists(table: pa.Table, p: RankListwise) -> list[_List]:
    """The positives that are no candidates, then the candidates: each passage once, ``orders`` times a row."""
    out = []
    for row, (own, found) in enumerate(zip(table["positive_ids"].to_pylist(), table["candidate_ids"].to_pylist(), strict=True)):
        few = found[: p.max_candidates]
        names = list(dict.fromkeys([*(i for i in own if i not in few), *few]))
        starts = [*range(len(names) - p.window, 0, -p.step), 0] if len(names) > 1 else []
        out += [_List(row, turn, list(names), windows=iter(starts)) for turn in range(p.orders)]
    return out


def _asked(
    one: _List, start: int, p: RankListwise, key: bytes, values: dict[str, str], shown: dict[bytes, str]
) -> tuple[Request, list[int]]:
    """The request of a window, and which of its places each shown number stands for."""
    part = one.names[start : start + p.window]
    order = sorted(range(len(part)), key=lambda i: columns.row_seed(p.seed, key, one.turn, start, part[i]))
    listed = "\n".join(f"[{n}] {shown[part[i]]}" for n, i in enumerate(order, 1))
    seed = columns.row_seed(p.seed, key, one.turn)
    system, prompt, shared = p.prompt.asked({**values, LIST: listed, COUNT: str(len(part))}, seed)
    return Request(prompt, seed, key.hex(), p.prompt.chat, system, shared), order


def _place(one: _List, start: int, order: Sequence[int], answer: Answer) -> None:
    """Put a window into the order that an answer names; what it leaves out follows as it stood."""
    named = [n - 1 for n in numbers_in(answer.text, answer.finish == "length")]
    first = list(dict.fromkeys(order[n] for n in named if 0 <= n < len(order)))
    if not first:
        one.fault = ("no order in the answer", answer.text)
        return
    one.repaired |= len(first) < len(order) or len(named) > len(first)
    part = one.names[start : start + len(order)]
    rest = [i for i in range(len(part)) if i not in first]
    one.names[start : start + len(order)] = [part[i] for i in (*first, *rest)]


def numbers_in(answer: str, cut: bool = False) -> list[int]:
    """The order that an answer names: the fullest line of [numbers], the last of equals; else items of a list, one number each;
    else a line of nothing but numbers. Of an answer that was ``cut`` off the last bare number may be half of one.
    """  # noqa: D205
    lines = spoken(answer).splitlines()
    named = [_NAMED.findall(line) for line in lines]
    if most := max(map(len, named), default=0):
        return [int(n) for n in (max(reversed(named), key=len) if most > 1 else sum(named, []))]
    items = [m.group(1) for line in lines if (m := _ITEM.fullmatch(line))]
    bare = [_BARE.findall(line) for line in lines if _ONLY.fullmatch(line)]
    found = items if len(items) > 1 else max(reversed(bare), key=len, default=[])
    return [int(n) for n in (found[:-1] if cut else found)]


def _outcome(table: pa.Table, p: RankListwise, lists: Sequence[_List]) -> Outcome:
    by_row: list[list[_List]] = [[] for _ in range(len(table))]
    for one in lists:
        by_row[one.row].append(one)
    known = [_mean(turns) for turns in by_row]
    faults = {i: fault for i, turns in enumerate(by_row) if (fault := next((t.fault for t in turns if t.fault[0]), None))}
    out = table
    for name, column in ((p.positives, "positive_ids"), (p.scores, "candidate_ids")):
        rows = [[said.get(i) for i in row] for said, row in zip(known, table[column].to_pylist(), strict=True)]
        out = columns.put(out, name, pa.array(rows, scores))
    out = columns.put(out, "listwise_repaired", pa.array([any(t.repaired for t in turns) for turns in by_row], flag))
    if p.orders > 1:
        out = columns.put(out, "listwise_agreement", pa.array([_agreement(turns) for turns in by_row], score))
    return outcome_of(table, out.filter(pa.array([i not in faults for i in range(len(table))], flag)), faults)


def _mean(turns: Sequence[_List]) -> dict[bytes, float]:
    """Each passage's mean score over the orders."""
    total: dict[bytes, float] = {}
    for one in turns:
        for place, name in enumerate(one.names):
            total[name] = total.get(name, 0.0) + 1 - place / max(len(one.names) - 1, 1)
    return {name: value / len(turns) for name, value in total.items()}


def _agreement(turns: Sequence[_List]) -> float:
    """The mean Kendall τ over the pairs of orders (Kendall, 1938): 1 where all are alike, −1 where one is the other reversed."""
    from scipy.stats import kendalltau

    names = turns[0].names
    if len(names) < 2:
        return 1.0
    places = [[one.names.index(name) for name in names] for one in turns]
    return float(np.mean([kendalltau(a, b).statistic for a, b in combinations(places, 2)]))


def example() -> Example:
    """Three queries: one with three passages, one with its positive alone, one with two."""
    from operators.engines import load_model, packaged

    words = ["Iron rusts in rain.", "Owls hunt at night.", "Bread needs yeast.", "Rain falls from clouds."]
    key, texts = indexed(words)
    rows: dict[str, Any] = {
        "query": pa.array(["why does iron rust", "when do owls hunt", "what makes bread rise"], text),
        "positive_ids": pa.array([[key[0]], [key[1]], [key[2]]], ids),
        "candidate_ids": pa.array([[key[3], key[0], key[1]], [], [key[1]]], ids),
    }
    table = pa.table({"query_id": columns.content_ids(rows["query"].to_pylist(), [""] * 3), **rows})
    p = RankListwise.model_validate({"prompt": "listwise.md", "max_candidates": 2, "max_tokens": 24})
    return Example(table, p, {"llm": load_model("llm", packaged("llm")), "texts": texts})
