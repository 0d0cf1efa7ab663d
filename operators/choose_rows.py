"""Choose rows under a budget: so many of each cluster, source or length, the best or by a draw (C39, C36).

Of ``by``, a value with n rows has a share ∝ n^alpha (1: as they are; 0.5: GTE, arXiv:2308.03281; 0: all alike), or the one
that ``target`` names. Within a value rows are drawn by the hash of their id, or are the highest of a column: without a
``temperature`` the best, with one a draw ∝ exp(quality / temperature), as QuRating does (arXiv:2402.09739) by Gumbel noise.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns
from operators.apportion import apportion
from operators.content import Array
from operators.contract import Columns, Example, InputError, Params, operator, row_id, score, text

_ROW = np.dtype([("hi", "<u8"), ("lo", "<u8"), ("key", "<f8"), ("draw", "<u8")])  # 32 bytes
_HELD = 1 << 20  # rows that wait before those that cannot be chosen are let go


class ChooseRows(Params):
    """How many, of which values, and which of their rows. A row whose number is none is not chosen."""

    budget: int = Field(ge=1, description="rows to choose, of all")
    key: str = Field(default="passage_id", min_length=1, description="the id of a row")
    by: str = Field(default="", description="a text column, or cluster; with edges a column of numbers; empty: all are one")
    edges: tuple[float, ...] = Field(default=(), description="cut the numbers of by: [10, 50] makes ..10, 10..50 and 50..")
    alpha: float = Field(default=1, ge=0, le=1, description="a value's share is n^alpha by the sum of all")
    target: dict[str, float] = Field(default={}, description="value: its share, in place of alpha; others get none")
    cap: int | None = Field(default=None, ge=1, description="rows of one value, at most")
    caps: dict[str, int] = Field(default={}, description="value: its rows at most, in place of cap")
    shortfall: Literal["spread", "shrink"] = Field(
        default="spread", description="where a value has too few rows: the others get more, or all get less and shares hold"
    )
    quality: str = Field(default="", description="a column of numbers, the highest first; empty: a draw")
    temperature: float = Field(default=0, ge=0, description="of a draw by quality; 0: the best, very high: all alike")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _acts(self) -> Self:
        fields = type(self).model_fields  # a worker is told all: what was set is not known, only what is otherwise
        otherwise = [n for n in ("edges", "alpha", "target", "cap", "caps", "shortfall") if getattr(self, n) != fields[n].default]
        if otherwise and not self.by:
            raise ValueError(f"{otherwise[0]} does nothing without by; name the column")
        if self.target and "alpha" in otherwise:
            raise ValueError("target and alpha both say the shares; leave one of them out")
        if any(share <= 0 for share in self.target.values()):
            raise ValueError("target: a share is above 0; leave out what is to have no row")
        if any(most < 1 for most in self.caps.values()):
            raise ValueError("caps: a cap is 1 at least; a target leaves out what is to have no row")
        if any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges do not rise")
        if self.temperature and not self.quality:
            raise ValueError("temperature does nothing without quality; name the column")
        if self.edges and (wrong := sorted((set(self.target) | set(self.caps)) - set(self.bins))):
            raise ValueError(f"{wrong[0]!r} is no bin of these edges; they make {', '.join(self.bins)}")
        return self

    @property
    def bins(self) -> list[str]:
        """The names of what ``edges`` cut; the lower end belongs to a bin."""
        told = ["", *(f"{edge:g}" for edge in self.edges), ""]
        return [f"{a}..{b}" for a, b in zip(told, told[1:], strict=False)]


class Chosen:
    """The ids of the chosen rows, and what each value had and got."""

    def __init__(self, keys: Any, quotas: dict[str, tuple[int, int]]) -> None:
        self.keys, self.quotas = keys, quotas  # (N,) sorted (hi, lo); value → (rows, chosen)

    def __len__(self) -> int:
        """How many rows are chosen."""
        return len(self.keys)

    def has(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """Which of these ids are chosen: (N,) bool."""
        return columns.places(self.keys["hi"], self.keys["lo"], columns.id_pairs(ids)) >= 0

    def save(self, folder: Path) -> None:
        """One .npy file and one of JSON."""
        np.save(folder / "keys.npy", self.keys, allow_pickle=False)
        (folder / "quotas.json").write_text(json.dumps(self.quotas, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what ``save`` wrote."""
        told = json.loads((folder / "quotas.json").read_text(encoding="utf-8"))
        keys = np.load(folder / "keys.npy", mmap_mode="r", allow_pickle=False)
        return cls(keys, {value: (rows, chosen) for value, (rows, chosen) in told.items()})


class _Chooser:
    """The best rows of each value so far: its count and ``budget`` + 1 rows at most."""

    def __init__(self, p: ChooseRows) -> None:
        self.p = p
        self.counts: dict[str, int] = {}
        self.rows: dict[str, list[Array]] = {}
        self.waiting = 0

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        names, code = self._values(table)
        rows = np.empty(len(table), _ROW)
        pairs = columns.id_pairs(table[self.p.key])
        rows["hi"], rows["lo"] = pairs["hi"], pairs["lo"]
        rows["draw"] = columns.draws(table[self.p.key], columns.row_seed(self.p.seed, "choose"))
        rows["key"] = 0
        if self.p.quality:
            rows["key"] = table[self.p.quality].to_numpy().astype(np.float64)
            if self.p.temperature:
                rows["key"] += self.p.temperature * _gumbel(rows["draw"])  # the order of key / temperature + noise
        known = np.flatnonzero(~np.isnan(rows["key"]) & (code >= 0))
        order = known[np.argsort(code[known], kind="stable")]
        found, starts = np.unique(code[order], return_index=True)
        for i, one in zip(found.tolist(), np.split(order, starts[1:]), strict=False):
            self._take(names[i], [rows[one]], len(one))

    def merge(self, later: "_Chooser") -> None:
        """Take in the rows of later parts."""
        for value, parts in later.rows.items():
            self._take(value, parts, later.counts[value])

    def _take(self, value: str, parts: list[Array], count: int) -> None:
        self.counts[value] = self.counts.get(value, 0) + count
        self.rows.setdefault(value, []).extend(parts)
        self.waiting += sum(map(len, parts))
        if self.waiting > _HELD:
            self.rows = {name: [self._best(parts)] for name, parts in self.rows.items()}
            self.waiting = 0

    def _best(self, parts: list[Array]) -> Array:
        """The first ``budget`` rows and one more, by which a repeated id at the end is seen."""
        rows = np.concatenate(parts)
        order = np.lexsort((rows["lo"], rows["hi"], rows["draw"], -rows["key"]))
        return rows[order[: self.p.budget + 1]]

    def _values(self, table: pa.Table) -> tuple[list[str], Array]:
        """The values of ``by`` and each row's place among them, −1 where its number is none."""
        if not self.p.by:
            return [""], np.zeros(len(table), np.int64)
        if self.p.edges:
            number = table[self.p.by].to_numpy()
            code = np.searchsorted(np.array(self.p.edges), number, side="right")
            return self.p.bins, np.where(np.isnan(number), -1, code)
        coded = pc.dictionary_encode(table[self.p.by].combine_chunks())
        return [str(one) for one in coded.dictionary.to_pylist()], coded.indices.to_numpy().astype(np.int64)

    def finish(self) -> Chosen:
        """Share the budget out, and take the first rows of each value."""
        p, values = self.p, sorted(self.counts)
        if missing := sorted(set(p.target) - set(values)) if p.shortfall == "shrink" else []:
            raise InputError(f"choose_rows: no row has the {p.by} {missing[0]!r} of the target; shares cannot hold without it")
        if values and p.target and not set(p.target) & set(values):
            raise InputError(f"choose_rows: no row has a {p.by} of target; they have {', '.join(map(repr, values[:5]))}")
        weights = [p.target.get(v, 0.0) if p.target else float(self.counts[v]) ** p.alpha for v in values]
        limits = [min(self.counts[v], p.caps.get(v, p.cap or self.counts[v])) for v in values]
        quotas = apportion(p.budget, weights, limits, p.shortfall == "shrink")
        kept = []
        for value, quota in zip(values, quotas, strict=True):
            rows = self._best(self.rows[value])
            _refuse_repeats(rows[: quota + 1], quota, p.key)
            kept.append(rows[:quota])
        rows = np.concatenate([np.empty(0, _ROW), *kept])
        rows = rows[np.lexsort((rows["lo"], rows["hi"]))]
        keys = np.empty(len(rows), [("hi", "<u8"), ("lo", "<u8")])
        keys["hi"], keys["lo"] = rows["hi"], rows["lo"]
        return Chosen(keys, {v: (self.counts[v], quota) for v, quota in zip(values, quotas, strict=True)})


def _gumbel(draw: Array) -> Array:
    """−log(−log u) of a u in (0, 1) by each draw: whoever is highest after it is drawn ∝ exp of what it is added to."""
    u = ((columns.mix(draw) >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    noise: Array = -np.log(-np.log(u))
    return noise


def _refuse_repeats(rows: Array, quota: int, key: str) -> None:
    """Of the rows chosen and the one behind them: an id that stands on two would take two places, and keep both."""
    if not quota:
        return
    names = np.sort(rows[["hi", "lo"]].astype([("hi", "<u8"), ("lo", "<u8")]), order=("hi", "lo"))
    if len(twice := np.flatnonzero(names[1:] == names[:-1])):
        hi, lo = names[twice[0]].tolist()
        raise InputError(
            f"choose_rows: {key} {hi:016x}{lo:016x} stands on more than one row; put drop_duplicates with key {key} before it"
        )


def _reads(p: ChooseRows) -> Columns:
    kind = score if p.edges else pa.int32() if p.by == "cluster" else text
    return {p.key: row_id, **({p.by: kind} if p.by else {}), **({p.quality: score} if p.quality else {})}


def measure_chosen(made: Chosen, p: ChooseRows) -> dict[str, int]:
    """Rows chosen, how many values have one, and how many values that target or caps name are of no row: misspelt, perhaps."""
    named = {"named values without a row": len({*p.target, *p.caps} - set(made.quotas))} if p.target or p.caps else {}
    return {"chosen": len(made), "values with a row": sum(chosen > 0 for _, chosen in made.quotas.values()), **named}


@operator("build", version="2", reads=_reads, measure=measure_chosen)
def choose_rows(p: ChooseRows) -> _Chooser:
    """One pass over ids: 32 bytes a row, of a value ``budget`` rows at most and of all a million that wait."""
    return _Chooser(p)


def example() -> Example:
    """Five rows of two sources."""
    table = pa.table({
        "passage_id": columns.content_ids([""] * 5, list("abcde")),
        "source": pa.array(["web", "web", "book", "web", "web"], text),
        "quality": pa.array([0.1, 0.9, 0.5, float("nan"), 0.7], score),
    })  # fmt: skip
    return Example(table.sort_by("passage_id"), ChooseRows(budget=3, by="source", alpha=0.5, quality="quality", temperature=1))
