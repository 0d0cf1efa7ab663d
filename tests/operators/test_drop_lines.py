"""Planted lines are dropped by their rule and no other line is, as by a loop; ids follow; a text of such lines alone is a reject."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_id, content_ids
from operators.contract import ARTIFACTS, InputError, apply, text
from operators.count_lines import CountLines, counted
from operators.drop_lines import NAMES, DropLines, drop_lines

PLANTED = {
    "c4.long_word": "See the file " + "x" * 1001 + " for it.", "c4.terminal": "Home and products and about us", "c4.words": "Read more.",
    "c4.javascript": "Please enable JavaScript to read this page.", "c4.policy": "We told you of our privacy policy before.",
    "symbols": "=-=-=-=-= | * * * |",
}  # fmt: skip
CALM = ["Iron will rust in rain.", "The owl hunts at night.[3]", "It rains! So it does?", "山は高くて空は青い。", "Он сказал, что придёт."]
ALL = tuple(PLANTED)


def dropped(said, counts=None, **given_):
    table = pa.table({"title": pa.array([""] * len(said), text), "text": pa.array(said, text)})
    table = table.append_column("doc_id", content_ids([""] * len(said), said))
    return apply(drop_lines, table, DropLines(**given_), **({"counts": counts} if counts is not None else {}))


@pytest.mark.parametrize("rule", PLANTED)
def test_each_planted_line_goes_by_its_rule_and_no_other_line(rule):
    said = "\n".join([CALM[0], PLANTED[rule], *CALM[1:]])
    row = dropped([said], rules=(rule,)).table.to_pylist()[0]
    assert (row["text"], row["dropped_lines"], row["doc_id"]) == ("\n".join(CALM), [rule], content_id("", "\n".join(CALM)))
    if rule != "symbols":  # it has neither words nor a mark
        others = tuple(r for r in PLANTED if r != rule)
        assert dropped([said], rules=others).table["text"].to_pylist() == [said]


def test_what_is_calm_stays_byte_for_byte_with_its_id():
    said = ["\n\n  " + " \n\n\n".join(CALM) + "\n", "", " \n "]
    outcome = dropped(said, rules=ALL)
    assert outcome.table["text"].to_pylist() == said
    assert outcome.table["doc_id"].to_pylist() == [content_id("", s) for s in said]


def test_lines_of_many_documents_go_and_all_their_copies():
    said = [f"{line}\n\nAll rights reserved by us.\n" for line in CALM]
    counts = counted(said)
    assert dropped(said, counts, rules=(), repeated=5).table["text"].to_pylist() == CALM
    assert dropped(said, counts, rules=(), repeated=6).table["text"].to_pylist() == said
    assert drop_lines.measure(dropped(said, counts, rules=(), repeated=2).table, DropLines()) == {"lines dropped by repeated": 5}


def test_a_text_without_a_line_left_is_a_reject_that_tells_the_rule_of_most():
    outcome = dropped([CALM[0], "Read more.\nRead it.\nUse cookies, please, here.\n\n"])
    assert [(r["_row"], r["reason"], r["value"]) for r in outcome.rejects.to_pylist()] == [(1, "no line left", "3 lines, c4.words")]


def test_thai_has_no_mark_to_lack_and_japanese_letters_count_as_half_words():
    thai = "แมวนอนอยู่บนโต๊ะและมองออกไปนอกหน้าต่าง"
    assert dropped([thai], rules=("c4.terminal", "c4.words")).table["text"].to_pylist() == [thai]
    assert len(dropped(["山は高い。"], rules=("c4.words",)).rejects) == 1


def oracle(said, bad):
    """The lines that stay; an empty one behind a dropped one only where no other, and not nothing, stands before and behind."""
    kept, behind = [], False
    for line in said.split("\n"):
        if line in bad:
            behind = True
        elif line.strip():
            kept.append(line)
            behind = False
        elif not behind or kept and kept[-1].strip():
            kept.append(line)
    while behind and kept and not kept[-1].strip():
        del kept[-1]
    return "\n".join(kept)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from([*CALM, *PLANTED.values(), "", " ", "foot of it all"]), max_size=9).map("\n".join), max_size=5))
def test_what_is_left_is_what_a_loop_leaves(said):
    often = {line for s in said for line in s.split("\n") if line.strip() and sum(line in t.split("\n") for t in said) >= 2}
    bad = {*PLANTED.values(), "foot of it all", *often}  # the foot has no mark
    outcome = dropped(said, counted(said), rules=ALL, repeated=2)
    rows = {r["_row"]: r for r in outcome.table.to_pylist()}
    for i, one in enumerate(said):
        hit = [line for line in one.split("\n") if line in bad]
        left = oracle(one, bad) if hit else one
        assert (i in rows) == (not hit or bool(left.strip()))
        if i in rows:
            assert (rows[i]["text"], len(rows[i]["dropped_lines"])) == (left, len(hit))
            assert set(rows[i]["dropped_lines"]) <= {*NAMES}


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"rules": ()}, "no line would be dropped"), ({"rules": ("symbols", "symbols")}, "name each once"),
        ({"rules": ("symbols",), "words": 5}, "words does nothing"), ({"identify": {"doc_id": ["title"]}}, "lacks text"),
        ({"rules": ("c4.stop",)}, "c4.long_word"), ({"repeated": 1}, "greater than or equal to 2"),
    ],
)  # fmt: skip
def test_options_that_do_nothing_are_refused(given_, told):
    with pytest.raises(ValueError, match=told):
        DropLines(**given_)


def test_counts_and_repeated_go_together():
    check = drop_lines.check
    assert "lacks using" in check(DropLines(repeated=2), {ARTIFACTS: set()})[0]
    assert "do nothing" in check(DropLines(), {ARTIFACTS: {"counts"}})[0]
    assert check(DropLines(), {ARTIFACTS: set()}) == check(DropLines(), {}) == []
    with pytest.raises(InputError, match="lacks using"):
        dropped(["a"], repeated=2)
    with pytest.raises(InputError, match="below the at_least"):
        dropped(["a"], counted(["a"], CountLines(at_least=5)), repeated=2)


def test_a_worker_that_is_told_every_field_takes_them():
    for p in (DropLines(rules=("symbols",)),):
        assert DropLines.model_validate_json(p.model_dump_json()) == p
