"""Measure text: every statistic against a plain loop over the text, whatever the cut; languages without blanks; a long text."""

import math
import re
import string
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import lines
from operators import measure_text as module
from operators.contract import apply, text
from operators.lines import POLICY
from operators.measure_text import DUPLICATE, ENGLISH, STATISTICS, TOP, MeasureText, measure_text
from operators.sentences import UNSPACED_RANGES

JAPANESE = "川は海に流れる。山は高い。\n空は青い。明日は雨が降るでしょう。"
THAI = "แมวนอนอยู่บนโต๊ะ\nพรุ่งนี้ฝนจะตก"


def measured(said, **given_):
    return apply(measure_text, pa.table({"text": pa.array(said, text)}), MeasureText(**given_)).table.to_pylist()


def dense(c):
    return any(low <= ord(c) <= high for low, high in UNSPACED_RANGES)


def kind(c):
    return unicodedata.category(c)


def share(part, whole):
    return part / whole if whole else 0.0


def repeated(parts):
    seen, again = set(), []
    for part in parts:
        again += [part] if part in seen else []
        seen.add(part)
    return share(len(again), len(parts)), share(sum(map(len, again)), sum(map(len, parts)))


def covered(words, starts, n):
    inside = {i for start in starts for i in range(start, start + n)}
    return share(sum(len(words[i]) for i in inside), sum(map(len, words)))


def oracle(said):
    """Every statistic by a loop, as the docstring tells it."""
    letters = sum(kind(c)[0] == "L" for c in said)
    unspaced = 2 * sum(map(dense, said)) > letters
    unended = 2 * sum(0x0E00 <= ord(c) <= 0x0EFF for c in said) > letters
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", said) if p.strip()]
    by_line = []
    for line in lines:
        cut = "".join(f" {c} " if dense(c) else c for c in line).split()
        by_line.append([w for w in cut if not unspaced or any(kind(c)[0] in "LMN" for c in w)])
    words = [w for line in by_line for w in line]
    weigh = [0.5 if len(w) == 1 and dense(w) else 1 for w in words]
    plain = [w for w, one in zip(words, weigh, strict=True) if one == 1 and any(kind(c)[0] not in "PS" for c in w)]
    count, visible = sum(weigh), sum(not c.isspace() for c in said)
    end = r"[.!?…。！？．｡؟۔।॥።။၊‼։។][\"'”’»」』）)\]]*$|[\"”]$"
    ends = [bool(re.search(end, line)) for line in lines]
    bare = [re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line).strip() for line in lines]
    ellipsis = [line.endswith(("...", "…")) for line in lines]
    c4 = [
        bool(re.search(end, b)) and not b.endswith(("...", "…")) and max(map(len, ws), default=0) <= 1000 and sum(0.5 if len(w) == 1 and dense(w) else 1 for w in ws) >= 5
        and not any(x in line.lower() for x in ("javascript", *POLICY))
        for b, ws, line in zip(bare, by_line, lines, strict=True)
    ]  # fmt: skip
    spoken = [any(kind(c)[0] not in "PS" for c in w) for w in words]
    sentence = r"[.!?…؟۔।॥።။၊‼։។]+[\"'”’»」』）)\]]*(?:\s|$)|[。！？．｡]+|[\"”]$"
    nan = float("nan")
    found = {
        "characters": len(said), "words": sum(o for o, s in zip(weigh, spoken, strict=True) if s), "line_breaks": share(said.count("\n"), count),
        "mean_word_length": nan if unspaced else share(sum(map(len, plain)), len(plain)),
        "symbol_ratio": share(max(said.count("#"), said.count("...") + said.count("…")), count),
        "bullet_lines": share(sum(bool(re.match(r"[•‣⁃◦▪▫■□●○∙·]|[-*–] ", x)) for x in lines), len(lines)),
        "ellipsis_lines": share(sum(ellipsis), len(lines)),
        "letter_words": share(sum(o for w, o in zip(words, weigh, strict=True) if any(kind(c)[0] in "LM" for c in w)), count),
        "stop_words": nan if unspaced else len({w.lower().strip(string.punctuation + "“”’…") for w in words} & {*ENGLISH}),
        "digit_ratio": share(sum(kind(c) == "Nd" for c in said), visible), "unreadable_ratio": share(said.count("\ufffd"), visible),
        "terminal_lines": nan if unended else share(sum(ends), len(lines)),
        "short_lines": share(sum(len(x) + sum(map(dense, x)) < 30 for x in lines), len(lines)),
        "c4_lines": nan if unended else share(sum(c4), len(lines)),
        "c4_sentences": nan if unended else sum(max(1, len(re.findall(sentence, x))) for x, k in zip(bare, c4, strict=True) if k),
        "lorem_ipsum": float(bool(re.search(r"lorem\s+ipsum", said, re.IGNORECASE))), "curly_brackets": said.count("{") + said.count("}"),
    }  # fmt: skip
    found["duplicate_lines"], found["duplicate_line_characters"] = repeated(lines)
    found["duplicate_paragraphs"], found["duplicate_paragraph_characters"] = repeated(paragraphs)
    for n in (*TOP, *DUPLICATE):
        size = 2 * n if unspaced else n
        grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        counts = Counter(grams)
        best = min(counts, key=lambda g: (-counts[g], -sum(map(len, g)), grams.index(g)), default=None)
        if n in TOP:
            twice = best is not None and counts[best] > 1
            found[f"top_{n}gram"] = covered(words, [i for i, g in enumerate(grams) if g == best], size) if twice else 0.0
        else:
            found[f"duplicate_{n}grams"] = covered(words, [i for i, g in enumerate(grams) if g in grams[:i]], size)
    return found


def check(said):
    for value, row in zip(said, measured(said), strict=True):
        wanted = oracle(value)
        assert set(wanted) == set(STATISTICS)
        for name in STATISTICS:
            assert row[name] == pytest.approx(wanted[name], rel=1e-5, abs=1e-6, nan_ok=True), (name, value)


PIECES = st.sampled_from(
    ["the", "of", "and", "iron", "rust", "a", "b", "#", "...", "…", "x.", "end!", '"', "12", "- ", "• ", "\n", "\n\n", " ", "\u3000",
     "JavaScript", "{", "}", "[1]", "rusts.[12]", "[edit]", "The,", "(of)", "|", "+", "end։", "‼", "x" * 1001, "Lorem ipsum", "use cookies", "\ufffd", "山", "川", "は", "。", "แ", "ม่", "Straße", "é", "don't", "\u00a0"],
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.lists(PIECES, max_size=40).map(" ".join), max_size=4))
def test_every_statistic_is_what_a_loop_over_the_text_gives(said):
    check(said)


@settings(max_examples=150)
@given(st.lists(st.text(st.sampled_from("ab .\n"), max_size=80), max_size=3))
def test_loops_of_few_words_too(said):
    check(said)


@settings(max_examples=100)
@given(st.lists(st.text(st.sampled_from("山川は海。\n "), max_size=60), max_size=3))
def test_and_loops_without_blanks(said):
    check(said)


def test_real_texts_of_many_scripts(tmp_path):
    check([JAPANESE, THAI, "Hello world.\nBye now.", "Der Hund schläft. Die Katze auch.\n\nNein!", "", " \n ", "word", "मैं घर जा रहा हूँ।"])


def test_no_cut_of_the_table_changes_a_row(monkeypatch):
    said = [JAPANESE, THAI, "buy now " * 9, "", "a b a b\n" * 7, "Iron rusts."] * 3
    whole = measured(said)
    monkeypatch.setattr(lines, "_BYTES", 40)
    assert repr(measured(said)) == repr(whole)
    assert [repr({**r, "_row": 0}) for r in whole] == [repr({**measured([s])[0], "_row": 0}) for s in said]


def test_what_has_no_meaning_in_a_script_is_nan():
    japanese, thai, english = measured([JAPANESE, THAI, "The end of it."])
    assert all(math.isnan(japanese[n]) for n in ("mean_word_length", "stop_words"))
    assert japanese["terminal_lines"] == 1
    assert all(math.isnan(thai[n]) for n in ("mean_word_length", "stop_words", "terminal_lines", "c4_sentences", "c4_lines"))
    assert not any(math.isnan(english[n]) for n in STATISTICS)


def test_stop_words_follow_the_language_of_the_row():
    table = pa.table({"text": pa.array(["der die the of"] * 3, text), "lang": pa.array(["de", "en", "fr"], text)})
    p = MeasureText(lang="lang", stop_words={"de": ("der", "die", "und"), "en": ("the",)})
    assert repr(apply(measure_text, table, p).table["stop_words"].to_pylist()) == "[2.0, 1.0, nan]"
    with pytest.raises(ValueError, match="language does nothing"):
        MeasureText(lang="lang", language="de")


def test_a_document_of_one_word_and_one_of_many(monkeypatch):
    monkeypatch.setattr(module, "_NGRAM_WORDS", 50)
    one, many, near = measured(["x" * 200_000, "a b c d e " * 4000 + "\nend.", "a b c d e " * 10])
    assert (one["words"], one["mean_word_length"], one["characters"]) == (1, 200_000, 200_000)
    assert (many["words"], many["characters"]) == (20_001, 40_005)
    assert [many[f"duplicate_{n}grams"] for n in DUPLICATE] == [near[f"duplicate_{n}grams"] for n in DUPLICATE]
    assert np.isclose(many["terminal_lines"], 0.5)


def test_gophers_stop_words_are_different_ones_without_their_punctuation():
    found = measured(["the the The", "The, (of) and.", "bethe of"])
    assert [row["stop_words"] for row in found] == [1, 3, 1]


def test_punctuation_alone_is_no_word_but_counts_among_what_ratios_divide_by():
    row = measured(["| iron | + | rusts ... |"])[0]
    assert (row["words"], row["mean_word_length"], row["letter_words"], row["symbol_ratio"]) == (2, 4.5, 0.25, 0.125)


def test_c4_takes_citations_out_and_no_line_with_a_word_of_a_thousand_characters():
    said = "Iron will rust in rain.[12]\nIron will rust in rain. [citation needed]\nIron will rust in " + "x" * 1001 + "."
    row = measured([said])[0]
    assert (row["c4_lines"], row["c4_sentences"]) == (pytest.approx(2 / 3), 2)


def test_sentences_of_other_scripts_end_too():
    assert [row["terminal_lines"] for row in measured(["Ողջույն։", "Ｅｎｄ．", "ខ្ញុំទៅផ្ទះ។", "what‽"])] == [1, 1, 1, 1]


def test_a_worker_that_is_told_every_field_takes_them():
    for p in (MeasureText(lang="lang"),):
        assert MeasureText.model_validate_json(p.model_dump_json()) == p


def test_stop_words_are_found_however_the_list_writes_them():
    row = measured(["Der Hund und l'arbre"], language="de", stop_words={"de": ("DER", "Und", "der", "hund.")})[0]
    assert row["stop_words"] == 3
