"""Each line is counted once a document, whatever its case and white space, as by a loop; what is rare is left out."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import lines
from operators.contract import InputError, text
from operators.count_lines import CountLines, LineCounts, count_lines, counted, enough

LINE = st.sampled_from(["Iron rusts.", "IRON  rusts. ", "Page 3", "page 4", "", " \t", "山は高い", "٣", "\u00a0x"])
TEXTS = st.lists(st.lists(LINE, max_size=6).map("\n".join), max_size=8)


def plain(line, digits):
    said = " ".join(line.lower().split())
    return "".join("0" if c.isdecimal() else c for c in said) if digits else said


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.booleans(), st.integers(2, 4), st.integers(0, 8))
def test_a_line_has_as_many_documents_as_a_loop_counts(said, digits, least, cut):
    p = CountLines(fold_digits=digits, at_least=least)
    folds = [count_lines(p) for _ in range(2)]
    for fold, part in zip(folds, (said[:cut], said[cut:]), strict=True):
        fold.add(pa.table({"text": pa.array(part, text)}), 0)
    folds[0].merge(folds[1])
    made = folds[0].finish()
    wanted = Counter(one for s in said for one in {plain(line, digits) for line in s.split("\n") if line.strip()})
    asked = [line for s in said for line in s.split("\n") if line.strip()] + ["never said"]
    kept = [n if (n := wanted[plain(line, digits)]) >= least else 0 for line in asked]
    assert made.documents(pa.array(asked, text)).tolist() == kept
    assert len(made) == sum(n >= least for n in wanted.values())
    assert count_lines.measure(made, p) == {"repeated lines": len(made)}


def test_where_a_part_is_cut_changes_nothing(monkeypatch):
    said = ["foot\nfoot\nIron.", "foot\nOwls."] * 5
    whole = counted(said).documents(pa.array(["foot", "iron.", "owls."], text)).tolist()
    monkeypatch.setattr(lines, "_BYTES", 4)
    assert counted(said).documents(pa.array(["foot", "iron.", "owls."], text)).tolist() == whole == [10, 5, 5]


def test_what_is_saved_is_what_is_loaded(tmp_path):
    counted(["Page 1", "page 2"], CountLines(fold_digits=True)).save(tmp_path)
    loaded = LineCounts.load(tmp_path)
    assert (len(loaded), loaded.documents(pa.array(["PAGE 7"], text)).tolist()) == (1, [2])


def test_no_document_and_lines_of_too_few_are_told():
    assert len(counted([])) == len(counted(["", "a"])) == 0
    with pytest.raises(InputError, match="repeated: 3 is below the at_least: 5"):
        enough(counted(["a"], CountLines(at_least=5)), 3)
