"""Filter quality: a planted violation of every published rule is found by that rule, and no clean text is dropped."""

import random
import re

import pyarrow as pa
import pytest

from operators.contract import apply, score, text
from operators.filter_quality import RULES, FilterQuality, filter_quality
from operators.measure_text import MeasureText, measure_text

WORDS = [
    "river", "stone", "water", "winter", "garden", "letter", "window", "morning", "evening", "country", "village",
    "mountain", "summer", "teacher", "doctor", "engine", "paper", "market", "station", "bridge", "harbour", "castle",
    "forest", "island", "valley", "meadow", "kitchen", "table", "chair", "picture", "music", "story", "number", "colour",
    "animal", "machine", "history", "science", "nature", "season", "journey", "visitor", "sailor", "farmer", "painter",
    "writer", "speaker", "reader", "driver", "player", "worker",
]  # fmt: skip


def sentence(draw, size=12, end="."):
    said = draw.sample(WORDS, size - 3)
    said[2:2], said[6:6], said[9:9] = ["of"], ["the"], ["with"]
    return " ".join(said).capitalize() + end


def prose(seed, lines=6, end="."):
    draw = random.Random(seed)
    return [sentence(draw, end=end) for _ in range(lines)]


def joined(lines):
    return "\n".join(lines)


def paragraphs(seed, again):
    """Short paragraphs that come back, of two lines that differ from each other."""
    blocks = [joined(prose(seed + i, 2)) for i in range(6)]
    return "\n\n".join(blocks + blocks[:again])


def with_loop(n, seed=7):
    """A text in which one run of n words stands often, with other words between, so that no longer run comes twice."""
    draw = random.Random(seed)
    run = draw.sample(WORDS, n)
    rest = [w for w in WORDS if w not in run]
    lines = []
    for _ in range(8):
        other = draw.sample(rest, n + 2)
        lines.append(" ".join([*other[:2], *run, *other[2:]]))
    return ". ".join(lines) + "."


CLEAN = [joined(prose(seed)) for seed in range(40)] + [" ".join(prose(seed)) for seed in range(40, 60)]
PLANTED = {
    "gopher.min_words": joined(prose(1, 3)),
    "gopher.max_words": joined(prose(2, 8_400)),
    "gopher.min_mean_word_length": joined(f"An ox is at it as {c} {d} of us to go up by the." for c in "aeiou" for d in "xyz"),
    "gopher.max_mean_word_length": joined(re.sub(r"\b(\w{5,})", r"\1ification", line) for line in prose(3)),
    "gopher.symbol_ratio": joined(line.replace(" ", " #", 3) for line in prose(4)),
    "gopher.bullet_lines": joined("- " + line for line in prose(5)),
    "gopher.ellipsis_lines": joined(prose(6, 5) + prose(61, 3, end="...")),
    "gopher.letter_words": joined(line[:-1] + " 1 2 3 4 5 6." for line in prose(7)),
    "gopher.stop_words": joined(line.replace(" of ", " or ").replace(" the ", " a ").replace(" with ", " by ") for line in prose(8)),
    "c4.sentences": " ".join(prose(9, 6, end=",")) + " end.",
    "c4.lorem_ipsum": joined(prose(10)) + "\nLorem  ipsum dolor sit amet and so on.",
    "c4.curly_brackets": joined(prose(11)) + "\nThen it says x = {1} at the end.",
    "fineweb.terminal_lines": joined(prose(12, 60, end="") + prose(121, 4)),
    "fineweb.line_breaks": "\n".join(f"Said {a} to every {b}, quietly." for a, b in zip(WORDS[::2], WORDS[1::2])) + "\n" * 24,
    "fineweb.short_lines": joined(prose(13, 4) + [f"Number {w} {i}." for i, w in enumerate(random.Random(13).sample(WORDS, 12))]),
}
LINES = prose(20, 8)
REPEATED = {
    "repetition.duplicate_lines": joined(LINES + LINES[:4]), "repetition.duplicate_line_characters": joined(LINES + LINES[:3]),
    "repetition.duplicate_paragraphs": paragraphs(100, 4), "repetition.duplicate_paragraph_characters": paragraphs(200, 2),
    **{f"repetition.top_{n}gram": with_loop(n) for n in (2, 3, 4)},
    **{f"repetition.duplicate_{n}grams": with_loop(n) for n in range(5, 11)},
}  # fmt: skip


# As the papers print them: what is removed.
PUBLISHED = {
    "gopher.min_words": "< 50", "gopher.max_words": "> 100000", "gopher.min_mean_word_length": "< 3",
    "gopher.max_mean_word_length": "> 10", "gopher.symbol_ratio": "> 0.1", "gopher.bullet_lines": "> 0.9",
    "gopher.ellipsis_lines": "> 0.3", "gopher.letter_words": "< 0.8", "gopher.stop_words": "< 2",
    "repetition.duplicate_lines": "> 0.3", "repetition.duplicate_paragraphs": "> 0.3",
    "repetition.duplicate_line_characters": "> 0.2", "repetition.duplicate_paragraph_characters": "> 0.2",
    "repetition.top_2gram": "> 0.2", "repetition.top_3gram": "> 0.18", "repetition.top_4gram": "> 0.16",
    "repetition.duplicate_5grams": "> 0.15", "repetition.duplicate_6grams": "> 0.14", "repetition.duplicate_7grams": "> 0.13",
    "repetition.duplicate_8grams": "> 0.12", "repetition.duplicate_9grams": "> 0.11", "repetition.duplicate_10grams": "> 0.1",
    "c4.sentences": "< 3", "c4.lorem_ipsum": "> 0", "c4.curly_brackets": "> 0", "fineweb.terminal_lines": "<= 0.12",
    "fineweb.duplicate_lines": ">= 0.1", "fineweb.short_lines": ">= 0.67",
    "fineweb.line_breaks": "> 0.3",  # of datatrove's code alone
}  # fmt: skip


def filtered(said, **given_):
    table = measure_text(pa.table({"text": pa.array(said, text)}), MeasureText())
    return apply(filter_quality, table, FilterQuality(**given_))


def measured_as(**values):
    """A text that every rule lets pass but for these statistics."""
    row = measure_text(pa.table({"text": pa.array([CLEAN[0]], text)}), MeasureText())
    for name, value in values.items():
        row = row.set_column(row.schema.get_field_index(name), name, pa.array([value], score))
    return row


def test_a_clean_corpus_passes_whole():
    outcome = filtered(CLEAN)
    assert outcome.rejects.to_pylist() == []


def only(rule):
    """The rules of its family."""
    return {"families": (rule.split(".")[0],)}


@pytest.mark.parametrize("rule", PLANTED)
def test_a_planted_violation_is_found_by_its_rule_and_the_clean_texts_stay(rule):
    outcome = filtered([CLEAN[0], PLANTED[rule], CLEAN[1]], **only(rule))
    assert [(r["_row"], r["reason"]) for r in outcome.rejects.to_pylist()] == [(1, rule)]
    assert float(outcome.rejects["value"][0].as_py()) >= 0
    assert len(filtered([PLANTED[rule]], **only(rule), without=(rule,)).table) == 1


@pytest.mark.parametrize("rule", REPEATED)
def test_a_planted_repetition_is_found_by_its_rule_and_the_clean_texts_stay(rule):
    assert {*PLANTED, *REPEATED, "fineweb.duplicate_lines"} == set(RULES)
    without = tuple(name for name in RULES if name.startswith("repetition.") and name != rule)
    rejects = filtered([CLEAN[0], REPEATED[rule], CLEAN[1]], families=("repetition",), without=without).rejects
    assert [(r["_row"], r["reason"]) for r in rejects.to_pylist()] == [(1, rule)]


def test_fineweb_takes_fewer_repeated_lines_than_gopher():
    said = joined(prose(21, 12) + prose(21, 2))
    assert [r["reason"] for r in filtered([said], families=("fineweb",)).rejects.to_pylist()] == ["fineweb.duplicate_lines"]
    assert "repetition.duplicate_line_characters" not in filtered([said], families=("repetition",)).rejects["reason"].to_pylist()


@pytest.mark.parametrize("rule", RULES)
def test_the_limit_is_the_published_one(rule):
    one, (sign, limit) = RULES[rule], PUBLISHED[rule].split()
    edge, step = float(limit), (1 if float(limit) > 1000 else 0.001) * (1 if sign[0] == ">" else -1)
    outside, inside = (edge, edge - step) if "=" in sign else (edge + step, edge)
    p = FilterQuality(families=(rule.split(".")[0],))
    assert len(apply(filter_quality, measured_as(**{one.column: inside}), p).table) == 1
    rejects = apply(filter_quality, measured_as(**{one.column: outside}), p).rejects.to_pylist()
    assert [(r["reason"], float(r["value"])) for r in rejects] == [(rule, pytest.approx(outside, rel=1e-3))]


def test_a_limit_moves_and_a_rule_goes_without_measuring_again():
    short = joined(prose(1, 3))
    assert len(filtered([short], limits={"gopher.min_words": 30}).table) == 1
    assert len(filtered([short], without=("gopher.min_words",)).table) == 1
    assert [r["reason"] for r in filtered([short], families=(), at_least={"words": 50}).rejects.to_pylist()] == ["min words"]
    assert [r["reason"] for r in filtered([short], families=(), at_most={"words": 20}).rejects.to_pylist()] == ["max words"]


def test_what_has_no_meaning_in_a_script_rejects_none():
    japanese = "".join(f"{a}は{b}に流れる川の話です。" for a in "山海空森町村駅橋" for b in "東西南北春夏秋冬")
    thai = "".join(f"แมว{a}นอนอยู่บนโต๊ะใกล้{b} " for a in "กขคงจฉชซ" for b in "ดตถทธนบป")
    for said in (japanese, thai):
        loops = [r["reason"] for r in filtered([said], families=("gopher", "c4", "fineweb")).rejects.to_pylist()]
        assert loops == []


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"without": ("gopher.stopwords",)}, "there is no rule 'gopher.stopwords'; did you mean 'gopher.stop_words'"),
        ({"limits": {"c4.lorem": 1}}, "there is no rule 'c4.lorem'; did you mean 'c4.lorem_ipsum'"),
        ({"at_most": {"digits": 0.1}}, "there is no statistic 'digits'"),
        ({"families": ("c4",), "without": ("gopher.min_words",)}, "does nothing where families lacks gopher"),
        ({"without": ("c4.sentences",), "limits": {"c4.sentences": 5}}, "is left out; a limit of it does nothing"),
        ({"limits": {"gopher.letter_words": 80}}, "gopher.letter_words: letter_words lies in 0..1, with the limit 80 no text passes"),
        ({"limits": {"repetition.top_2gram": 20}}, "repetition.top_2gram: .* no text breaks it"),
        ({"limits": {"gopher.min_words": 0}}, "gopher.min_words: .* no text breaks it"),
        ({"limits": {"fineweb.terminal_lines": 1}}, "fineweb.terminal_lines: .* no text passes"),
        ({"limits": {"fineweb.short_lines": 1.5}}, "fineweb.short_lines: .* no text breaks it"),
        ({"limits": {"fineweb.short_lines": 0}}, "fineweb.short_lines: .* no text passes"),
        ({"at_most": {"digit_ratio": 1}}, "max digit_ratio: .* no text breaks it"),
        ({"at_most": {"words": -1}}, "max words: .* no text passes"),
        ({"at_least": {"words": 9}, "at_most": {"words": 8}}, "at_least.words is above at_most.words"),
        ({"families": ()}, "no rule is left"),
        ({"families": ("gofer",)}, "gofer"),
    ],
)
def test_names_that_do_nothing_are_refused_with_a_hint(given_, told):
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        FilterQuality(**given_)


def test_a_reject_tells_a_large_value_in_full():
    told = filtered([joined(prose(2, 8_400))], families=("gopher",)).rejects.to_pylist()
    assert [(r["reason"], r["value"]) for r in told] == [("gopher.max_words", "100800")]
