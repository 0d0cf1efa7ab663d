"""A definition leads to each of its words, a word to others of its sense; what gives no pair says why."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.read_lexicon import ReadLexicon, _pairs, read_lexicon
from tests.operators.test_formats import rows


def read(path, **params):
    found, bad = rows(ReadLexicon(path=str(path), **params), read_lexicon)
    return [(r["query_type"], r["query"], r["passage"]) for r in found], [(b["_row"], b["reason"], b["value"]) for b in bad]


def test_csv_and_json_lines_say_the_same(tmp_path):
    (tmp_path / "a.csv").write_text("term,synonyms,definition\nbank,riverside|Ufer,land  beside water|shore\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"term": "bank", "synonyms": ["riverside", "Ufer"], "definition": ["land beside water", "shore"]}))
    found, bad = read(tmp_path / "a.csv", kinds=["definition"])
    assert found == [("definition", d, w) for d in ("land beside water", "shore") for w in ("bank", "riverside", "Ufer")]
    assert (found, bad) == read(tmp_path / "b.jsonl", kinds=["definition"])
    assert len(read(tmp_path / "a.csv")[0]) == 6 + 3 * 2


def test_a_mark_splits_fields_of_csv_alone(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"term": "pipe", "definition": "the sign | that joins two commands"}\n')
    (tmp_path / "a.csv").write_text("term,definition\npipe,the sign|that joins\n")
    wanted = {"a.jsonl": ["the sign | that joins two commands"], "a.csv": ["that joins", "the sign"]}
    for name, queries in wanted.items():
        assert sorted({query for _, query, _ in read(tmp_path / name)[0]}) == queries


def test_each_record_that_gives_no_pair_says_why(tmp_path):
    records = [{"term": "alone"}, {"term": ""}, {"term": None, "definition": "x"}, {"term": 3, "definition": "x"}, {"term": "owl", "definition": "Owl"},
               {"term": "a\x00", "definition": "x"}, {"term": ["Owl", "owl"]}, {"term": "good", "definition": "not bad"}]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    found, bad = read(tmp_path / "a.jsonl")
    assert found == [("definition", "not bad", "good")]
    none = "neither a definition nor a synonym"
    assert bad == [(1, none, "alone"), (2, "no term", "a.jsonl:2"), (3, "no term", "a.jsonl:3"), (4, "term is int, not text", "3"),
                   (5, none, "owl"), (6, "term holds a NUL character", "a\x00"), (7, none, "Owl")]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("abAB ", max_size=3), max_size=6), st.lists(st.text("xyab", max_size=2), max_size=3), st.integers(1, 4), st.integers(0, 9))
def test_pairs_are_of_one_sense_and_a_word_asks_for_so_many(terms, definitions, most, seed):
    p = ReadLexicon(path="x", synonyms=most, seed=seed)
    found, bad = _pairs(p, 1, (terms, None, definitions, None), str, False)
    words = {t.strip().casefold(): t for t in terms if t.strip()}
    said = {d.casefold() for d in definitions if d} - set(words)
    asked = [(q.casefold(), w.casefold()) for kind, q, w, _ in found if kind == "definition"]
    assert sorted(asked) == sorted((d, w) for d in said for w in words)
    near = [(a.casefold(), b.casefold()) for kind, a, b, _ in found if kind == "synonym"]
    assert len(set(near)) == len(near) and all(a != b and {a, b} <= set(words) for a, b in near)
    assert len(near) == len(words) * min(most, max(len(words) - 1, 0))
    assert bool(bad) == (not found)


def test_options_that_do_nothing_are_refused():
    for params, why in (({"kinds": []}, "at least one"), ({"kinds": ["definition"], "synonyms": 1}, "does nothing")):
        with pytest.raises(ValidationError, match=why):
            ReadLexicon(path="x", **params)
    assert "term" in read_lexicon.check(ReadLexicon(path=__file__, format="csv"), {})[0]
