"""Measure which names and numbers of a structure stand in the text that was written of it.

KELM (arXiv:2010.12688) and EREDAT check generated sentences against their triples; VN-MTEB (arXiv:2507.21500)
checks that numbers and links survive a translation.
"""

import re
from typing import Literal

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Params, operator, score, text, texts

_NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:[.,]\d+)*(?![\w])")
_LINK = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]")
_CODE = re.compile(r"`[^`\n]+`")
_NAME = re.compile(r"[^\W\d_]*[A-Z\u00C0-\u00DE][\w'’.-]*\w(?:[ ][A-Z\u00C0-\u00DE][\w'’.-]*\w)*|\w+_\w+")
_FIELD = re.compile(r"(?:^|;\s*|\n)\s*[^;:\n]+:\s*(?P<value>[^;\n]+)")
Kind = Literal["numbers", "names", "links", "code", "values"]


class MeasureEntities(Params):
    """Which columns, and what must survive.

    ``values``: what stands behind the colons of ``field: value; field: value``. ``names``: words with a capital
    that do not begin a sentence, and words with an underscore.
    """

    structure: str = Field(min_length=1, description="the column of what the text was written of")
    column: str = Field(min_length=1, description="the column of the text")
    kinds: tuple[Kind, ...] = Field(default=("numbers", "values"), min_length=1)
    max_words: int = Field(default=4, ge=1, description="a longer value may be told in other words")


def _reads(p: MeasureEntities) -> Columns:
    return {p.structure: text, p.column: text}


@operator("map", version="1", reads=_reads, writes={"entity_recall": score, "missing_entities": texts}, rows="same")
def measure_entities(table: pa.Table, p: MeasureEntities) -> pa.Table:
    """Add the share of entities that stand in the text (1 where there are none), and those that do not."""
    recall: list[float] = []
    missing: list[list[str]] = []
    for given, said in zip(table[p.structure].to_pylist(), table[p.column].to_pylist(), strict=True):
        wanted = entities(given, p)
        absent = [e for e in wanted if not stands_in(e, said)]
        recall.append(1 - len(absent) / len(wanted) if wanted else 1.0)
        missing.append(absent)
    wide = columns.put(table, "entity_recall", pa.array(recall, score))
    return columns.put(wide, "missing_entities", pa.array(missing, texts))


def entities(given: str, p: MeasureEntities) -> list[str]:
    """What must survive, each once, in order."""
    found: list[str] = []
    for kind in p.kinds:
        if kind == "names":
            found += _names(given)
        elif kind == "values":
            found += [v for m in _FIELD.finditer(given) if len((v := m["value"].strip()).split()) <= p.max_words]
        else:
            found += [m[0] for m in {"numbers": _NUMBER, "links": _LINK, "code": _CODE}[kind].finditer(given)]
    return list(dict.fromkeys(e for e in found if e))


def _names(given: str) -> list[str]:
    """Runs of words with a capital; the word that begins a sentence has one whatever it is."""
    found = []
    for match in _NAME.finditer(given):
        first = given[: match.start()].rstrip()[-1:] in ("", ".", "!", "?", ":")
        found.append(match[0].partition(" ")[2] if first and "_" not in match[0] else match[0])
    return found


def stands_in(entity: str, said: str) -> bool:
    """Whether it stands there as a whole, whatever its case; of a number also with its thousands written otherwise."""
    if _NUMBER.fullmatch(entity):
        return _plain(entity) in {_plain(m[0]) for m in _NUMBER.finditer(said)}
    folded, wanted = columns.normalise(said).casefold(), columns.normalise(entity).casefold()
    left, right = (r"(?<!\w)" if wanted[:1].isalnum() else ""), (r"(?!\w)" if wanted[-1:].isalnum() else "")
    return bool(re.search(left + re.escape(wanted) + right, folded))


def _plain(number: str) -> str:
    """1,204 and 1.204 are 1204; 1,20 and 1.20 are 1.20; a group of three digits is taken for thousands."""
    number = number.replace("−", "-")
    whole = re.sub(r"[.,](?=\d{3}(?:[.,]|$))", "", number)
    return whole.replace(",", ".")


def example() -> Example:
    """Three structures: told in full, a number wrong, nothing that must survive."""
    given = ["code: 404; phrase: Not Found", "code: 410; phrase: Gone", "a plain remark"]
    said = ["The HTTP status 404 means not found.", "Status 401 means gone.", "Something else."]
    table = pa.table({"structure": pa.array(given, text), "sentence": pa.array(said, text)})
    return Example(table, MeasureEntities(structure="structure", column="sentence"))
