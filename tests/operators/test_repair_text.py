"""Repair text: what was broken comes back, what was whole stays byte for byte, ids follow, and nothing is cut by size."""

import unicodedata

import ftfy
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns import content_id, content_ids
from operators.contract import apply, text
from operators.repair_text import KINDS, RepairText, _pieces, repair_text, repaired

SAID = [
    "Der Käse schläft über dem Fluß.", "L'été déjà passé, où êtes-vous ?", "Příliš žluťoučký kůň.", "“Quoted” – with dashes…", "Ça coûte 5 €.",
    "Это предложение по-русски.", "Η γάτα κοιμάται.", "日本語の文章です。", "naïve café, façade", "año nuevo, ¿qué tal?",
]  # fmt: skip
PLANTED = {
    "mojibake": ("The cafÃ© is open.", "The café is open."),
    "escapes": ("\x1b[1mN\x1b[0m and N\bNA\bA and _\bx \x1b]0;title\x07.", "N and NA and x ."),
    "line_ends": ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
    "control": ("a\x01b\x7fc\ufffed", "abcd"),
    "invisible": ("\ufeffzero\u200bwidth soft\u00adhyphen \u202eleft\u2069 a\u200db \U000e0041", "zerowidth softhyphen left ab "),
    "normal_form": ("cafe\u0301", "café"),
}


def run(said, **given_):
    table = pa.table({"title": pa.array([""] * len(said), text), "text": pa.array(said, text)})
    return apply(repair_text, table.append_column("doc_id", content_ids([""] * len(said), said)), RepairText(**given_))


@pytest.mark.parametrize("kind", PLANTED)
def test_each_planted_fault_is_mended_by_its_repair_and_by_no_other(kind):
    broken, whole = PLANTED[kind]
    row = run([broken]).table.to_pylist()[0]
    assert (row["text"], row["repairs"], row["doc_id"]) == (whole, [kind], content_id("", whole))
    others = tuple(k for k in PLANTED if k != kind)
    assert repaired(broken, others)[0] != whole


def test_what_is_whole_stays_with_its_id():
    keep = ["پنجره\u200cها", "क्\u200dष", "👩\u200d💻 \U0001f3f4\U000e0067\U000e0062\U000e007f", "tab\tand\nline", "a\u00a0b & c &amp; <b>"]
    outcome = run(SAID + keep)
    assert outcome.table["text"].to_pylist() == SAID + keep
    assert set(map(tuple, outcome.table["repairs"].to_pylist())) == {()}
    assert repair_text.measure(outcome.table, RepairText()) == {}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_text_read_in_another_encoding_is_read_again(encoding):
    hit = 0
    for said in SAID:
        try:
            broken = said.encode().decode(encoding)
        except UnicodeDecodeError:
            continue
        hit += 1
        assert repaired(broken, ("mojibake",))[0] == said
        mixed = "Plain line.\n" + broken + "\n" + said  # a line is mended alone
        assert repaired(mixed, ("mojibake",))[0] == f"Plain line.\n{said}\n{said}"
    assert hit >= 3


@given(st.sampled_from(SAID), st.sampled_from(["cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso8859-2", "cp437", "mac_roman"]))
def test_no_line_that_ftfy_mends_is_passed_over(said, encoding):
    broken = said.encode().decode(encoding, "replace")
    assert repaired(broken, ("mojibake",))[0] == ftfy.fix_encoding(broken)


@given(st.text(st.sampled_from("ÃÂâ€™œ¢äéà ¼½©Ð¿Ñ‚ÐŸа\u0080\u0099\ufffd\x1aab"), max_size=12))
def test_no_such_text_either(said):
    assert repaired(said, ("mojibake",))[0] == ftfy.fix_encoding(said)


@given(st.lists(st.text(max_size=40), max_size=5))
def test_mending_twice_mends_nothing_more_and_leaves_no_mark(said):
    for row in run([s.replace("\x00", "") for s in said]).table.to_pylist():
        again, kinds = repaired(row["text"], tuple(k for k in KINDS if k not in ("mojibake", "entities")))
        assert (again, kinds) == (row["text"], [])
        assert unicodedata.is_normalized("NFC", again)
        assert not set(again) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x200B, 0xFEFF]))


def test_a_long_line_is_mended_like_its_pieces():
    said = "Größe über alles " * 100_000
    assert "".join(_pieces(said)) == said
    assert repaired(said.encode().decode("cp1252"), ("mojibake",))[0] == said
    line = "ü" * 3_000_000
    assert repaired(line, ("mojibake",)) == (line, [])


def test_a_text_of_which_nothing_stays_is_a_reject_and_an_empty_one_is_not():
    outcome = run(["\ufeff\x01", "", "x"])
    assert [(r["_row"], r["reason"]) for r in outcome.rejects.to_pylist()] == [(0, "nothing left of the text")]


def test_entities_are_read_where_asked_and_no_tag_stands_by():
    assert repaired("a &lt; b &eacute;", ("entities",))[0] == "a < b é"
    assert repaired("<i>a</i> &eacute;", ("entities",))[0] == "<i>a</i> &eacute;"
    assert run(["R&amp;D"], repairs=("entities",)).table["text"].to_pylist() == ["R&D"]


def test_repairs_are_counted_for_the_manifest():
    table = run([PLANTED["mojibake"][0], PLANTED["control"][0], PLANTED["control"][0], "whole"]).table
    assert repair_text.measure(table, RepairText()) == {"repaired mojibake": 1, "repaired control": 2}


def test_a_title_gives_a_new_id_too_and_passages_can_be_mended():
    table = pa.table({"title": pa.array(["cafÃ©"], text), "passage": pa.array(["whole"], text)})
    table = table.append_column("passage_id", content_ids(["cafÃ©"], ["whole"]))
    p = RepairText(columns=("title", "passage"), identify={"passage_id": ["title", "passage"]})
    assert apply(repair_text, table, p).table["passage_id"].to_pylist() == [content_id("café", "whole")]


def test_an_id_that_never_changes_and_repairs_named_twice_are_refused():
    with pytest.raises(ValueError, match="none of query is repaired"):
        RepairText(identify={"query_id": ["query"]})
    with pytest.raises(ValueError, match="name each once"):
        RepairText(repairs=("control", "control"))


def test_a_text_that_was_empty_stays_with_its_mended_title():
    table = pa.table({"title": pa.array(["cafÃ©", "x\x01"], text), "text": pa.array(["", "\u200b"], text)})
    outcome = apply(repair_text, table.append_column("doc_id", content_ids(["cafÃ©", "x\x01"], ["", "\u200b"])), RepairText())
    assert outcome.table["title"].to_pylist() == ["café"]
    assert [(r["_row"], r["value"]) for r in outcome.rejects.to_pylist()] == [(1, "\u200b")]
