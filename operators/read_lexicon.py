"""Read a lexicon as pairs: a definition asks for its entry, a word for its synonyms, in one language or across several.

Definitions and entries: DefSent (arXiv:2105.04339). A record is a sense: its words, and what they mean. In JSON lines
{"term": "bank", "synonyms": ["riverside", "Ufer"], "definition": "sloping land beside a body of water"}; in CSV several
synonyms or definitions stand in one field with a | between them. A list of terms alone is a synonym set.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns, rows
from operators.contract import Item, Outcome, Params, operator
from operators.formats import Bad, kind_of
from operators.read_corpus import batches_of, check_file, items_of, names_of, place, source_of
from operators.read_pairs import WRITES

USUAL = {
    "term": ("term", "terms", "word", "lemma", "entry", "headword"),
    "definition": ("definition", "definitions", "gloss", "meaning"),
    "synonyms": ("synonyms", "synonym"), "id": ("_id", "id", "synset", "sense"),
}  # fmt: skip
Kind = Literal["definition", "synonym"]


class ReadLexicon(Params):
    """Where the lexicon is, what its columns are called, and which pairs it gives."""

    path: str
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "datasets"] = "auto"
    columns: dict[Literal["term", "definition", "synonyms", "id"], str] = {}
    kinds: tuple[Kind, ...] = ("definition", "synonym")
    synonyms: int | None = Field(default=None, ge=1, description="that a word asks for, drawn by the word; 2 where not said")
    source: str = ""
    licence: str = ""
    instruction: str = ""
    split: str = "train"
    max_chars: int = Field(default=100_000, ge=1, description="of a word or a definition")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds names at least one kind, each once")
        if self.synonyms and "synonym" not in self.kinds:
            raise ValueError("synonyms does nothing without the kind synonym: leave it out")
        return self


def _items(p: ReadLexicon) -> list[Item]:
    return items_of(p, "lexicon")


def _check(p: ReadLexicon, using: Mapping[str, Any]) -> list[str]:
    return check_file(p, "lexicon", {"term": USUAL["term"]})


@operator("source", version="2", key="query_id", items=_items, writes=WRITES, check=_check)
def read_lexicon(item: Item, p: ReadLexicon) -> Iterator[Outcome]:
    """One row a (definition, word) and a (word, synonym), the second as a passage; a record that gives none is a reject."""
    split = kind_of(Path(item.name), place(p, "lexicon")[1]) in ("csv", "tsv")  # elsewhere several are a list
    for batch, names in rows.named(batches_of(item, p, "lexicon"), USUAL, p.columns, ("term",), item.name):
        count, bad, kept, unnamed = len(batch.numbers), list(batch.bad), [], names_of(item, p, "lexicon")
        fields = [rows.column(batch.columns, names[c], count) for c in ("term", "synonyms", "definition", "id")]
        for number, record in zip(batch.numbers, zip(*fields, strict=True), strict=True):
            found, faults = _pairs(p, number, record, unnamed, split)
            kept += found
            bad += faults
        yield Outcome(_table(p, kept), rows.bad_table(bad), seen=len(kept) + len(bad))


def _pairs(p: ReadLexicon, number: int, record: Any, unnamed: Callable[[int], str], split: bool) -> tuple[list[Any], list[Bad]]:
    """The pairs of a sense as (kind, query, passage, id), or why there is none."""
    term, more, meaning, own = record
    told = {"term": _values(term, split), "synonym": _values(more, split), "definition": _values(meaning, split)}
    for name, values in told.items():
        for value in values:
            if fault := rows.text_fault(value, name, p.max_chars):
                return [], [(number, *fault)]
    if fault := rows.id_fault(own, "id"):
        return [], [(number, *fault)]
    words, definitions = _distinct([*told["term"], *told["synonym"]]), _distinct(told["definition"])
    name = rows.as_id(own) or unnamed(number)
    found = []
    if "definition" in p.kinds:
        echo = {word.casefold() for word in words}
        found += [("definition", said, word, name) for said in definitions if said.casefold() not in echo for word in words]
    if "synonym" in p.kinds:
        for word in words:
            others = [one for one in words if one != word]
            drawn = random.Random(columns.row_seed(p.seed, word, name)).sample(others, min(p.synonyms or 2, len(others)))
            found += [("synonym", word, other, name) for other in drawn]
    why = "no term" if not words else "neither a definition nor a synonym"
    return found, [] if found else [(number, why, words[0] if words else name)]


def _values(field: Any, split: bool) -> list[Any]:
    """The texts of a field: a list, or where it is ``split`` a text with | between several."""
    if isinstance(field, str):
        return field.split("|") if split else [field]
    return list(field) if isinstance(field, (list, tuple)) else [field]


def _distinct(values: list[Any]) -> list[str]:
    """Those that say something, each once whatever its case."""
    said = (columns.normalise(value) for value in values if value)
    return list({one.casefold(): one for one in reversed([one for one in said if one])}.values())[::-1]


def _table(p: ReadLexicon, kept: list[Any]) -> pa.Table:
    kinds, queries, passages, names = (list(c) for c in zip(*kept, strict=True)) if kept else ([], [], [], [])
    n = len(kept)
    empty, told = [""] * n, [p.instruction] * n
    own = columns.content_ids(empty, passages)
    values = [
        columns.content_ids(queries, told), queries, kinds, told, ["lexicon"] * n, [source_of(p)] * n, names, [p.licence] * n,
        empty, passages, own, [[one] for one in own.to_pylist()],
    ]  # fmt: skip
    return pa.table([pa.array(v, t) for v, t in zip(values, WRITES.values(), strict=True)], names=list(WRITES))


def example(folder: Path) -> ReadLexicon:
    """Three senses: with both kinds of pairs, a synonym set, a word alone."""
    lines: list[dict[str, Any]] = [
        {"term": "bank", "synonyms": ["riverside"], "definition": "land beside water"}, {"term": ["owl", "Eule"]}, {"term": "x"},
    ]  # fmt: skip
    (folder / "lexicon.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return ReadLexicon(path=str(folder / "lexicon.jsonl"))
