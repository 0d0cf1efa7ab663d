"""Violations of every rule of curation, planted into copies of real abstracts: each with the step and the reason that must find it."""

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from operators.filter_quality import RULES
from operators.measure_text import ENGLISH
from operators.repair_text import KINDS, repaired
from operators.sentences import sentences
from tests.decontamination import scoring

_OTHERS = [name for name in RULES if name.startswith("repetition.") and name != "repetition.duplicate_paragraph_characters"]
FLOW = f"""
flow: planted
steps:
  docs:     {{op: read_corpus, with: {{path: docs.jsonl}}}}
  repaired: {{op: repair_text, from: docs, max_rejected: 1}}
  counts:   {{op: count_lines, from: repaired}}
  lines:
    op: drop_lines
    from: repaired
    using: {{counts: counts}}
    with: {{rules: [c4.long_word, c4.javascript, c4.policy, symbols], repeated: {{foot}}}}
    max_rejected: 1
  told:     {{op: detect_language, from: lines, with: {{column: text, expected: en, segment_chars: 80}}}}
  english:  {{op: filter_scores, from: told, with: {{at_least: {{lang_score: 0.5, lang_share: 0.7}}}}, max_rejected: 1}}
  calm:     {{op: drop_listed, from: lines, with: {{lists: {{words: blocked.txt}}}}, max_rejected: 1}}
  private:  {{op: redact_pii, from: lines, with: {{action: reject, region: US}}, max_rejected: 1}}
  measured: {{op: measure_text, from: lines}}
  quality:  {{op: filter_quality, from: measured, max_rejected: 1}}
  blocks:   {{op: filter_quality, from: measured, with: {{families: [repetition], without: {_OTHERS}}}, max_rejected: 1}}
""".replace("{foot}", "12")
FOOT, FEET = "Subscribe to our letter for more of these abstracts.", 12
_DROP = "  {step}: {{op: drop_contaminated, from: scored, using: {{evaluation: index}}, with: {params}, max_rejected: 1}}\n"
# The thresholds of drop_contaminated's docstring, each tier alone.
TIERS = {
    "exact": "{ngram: null}", "ngram": "{exact: false}", "rouge": "{exact: false, ngram: null, rouge: 0.57}",
    "bm25": "{exact: false, ngram: null, bm25: 0.52}", "embedding": "{exact: false, ngram: null, dense: 0.86}",
}  # fmt: skip
CONTAMINATED = scoring("contaminated", "minilm") + "".join(_DROP.format(step=k, params=v) for k, v in TIERS.items())
CONTAMINATED += "  found: {op: measure_contamination, from: scored, using: {evaluation: index}, with: {rouge: 0.57, bm25: 0.52, dense: 0.86}}\n"
BRANCHES = ("english", "calm", "private", "quality", "blocks")
BLOCKED = ("casino bonus", "viagra")
PII = {
    "email": "ann.lee@uni-bremen.de", "iban": "DE89 3704 0044 0532 0130 00", "credit_card": "4111 1111 1111 1111",
    "us_ssn": "078-05-1120", "ipv6": "2a00:1450:4001:81b::200e", "ipv4": "93.184.216.34", "phone": "+44 20 7946 0958",
}  # fmt: skip
REPAIRS = {
    "mojibake": "The cafÃ© was open.", "escapes": "The \x1b[1mbold\x1b[0m word was read.", "line_ends": "One line.\u2028Another line.",
    "control": "A mark\x01 stood here.", "invisible": "A soft\u00adhyphen stood here.", "normal_form": "The cafe\u0301 was open.",
}  # fmt: skip
LINES = {
    "c4.long_word": "See the file " + "x" * 1001 + " for it.", "c4.javascript": "Please enable JavaScript to read on.",
    "c4.policy": "This site uses cookies to read on.", "symbols": "=-=-=-= | * * *",
}  # fmt: skip
_N = range(6, 11)
_LIMIT = {5: 0.16, **{n: 0.2 - n / 100 + 0.005 for n in _N}}  # of repeated runs: over the limit of n words, not of n - 1


class Plant(NamedTuple):
    """A text, the step that must reject it and why; no step where it is mended, and the others that may reject it, too."""

    name: str
    text: str
    step: str
    reasons: tuple[str, ...]
    may: tuple[str, ...] = ()


def plants(texts: list[str], foreign: list[tuple[str, str]], seed: int = 7) -> Iterator[Plant]:
    """Every violation, each in another of the texts, which pass every rule; ``foreign`` are (language, text)."""
    draw = random.Random(seed)
    whole = [t for t in texts if not repaired(t, KINDS)[1]]
    fit = [s for t in whole if len(s := cut(t)) >= 9 and not repeats(t.split())]
    pool = [one for s in map(cut, whole) for one in s if 60 <= len(one) <= 110 and one[-1] == "." and one[:-1].count(".") == 0]
    pool = list(dict.fromkeys(pool))
    for rule, make in _QUALITY.items():
        text = make(draw.choice(fit), draw.sample(pool, len(pool)))
        step = "blocks" if rule == "repetition.duplicate_paragraph_characters" else "quality"
        yield Plant(rule, text, step, (rule,), ("english", "quality", "blocks"))
    for n in _LIMIT:
        rule = f"repetition.duplicate_{n}grams"
        yield Plant(rule, with_copy(draw, fit, _LIMIT[n]), "quality", (rule,), ())
    for kind, value in PII.items():
        yield Plant(f"pii {kind}", inside(draw.choice(fit), f"Write to {value} for it."), "private", (f"holds {kind}",))
    for word in BLOCKED:
        yield Plant(f"listed {word}", inside(draw.choice(fit), f"See the {word.title()}, too."), "calm", ("listed in words",))
    for lang, said in foreign:
        yield Plant(f"language {lang}", said, "english", ("lang_score too low",), ("quality", "blocks"))
    mixed = " ".join(draw.choice(fit)[:4]) + "\n\n" + next(said for lang, said in foreign if lang == "de")
    yield Plant("language mixed", mixed, "english", ("lang_score too low", "lang_share too low"), ("quality", "blocks"))
    for kind, value in REPAIRS.items():
        yield Plant(f"repaired {kind}", inside(draw.choice(fit), value), "", ())
    for rule, line in LINES.items():
        yield Plant(f"lines dropped by {rule}", "\n".join([*draw.choice(fit), line]), "", ())
    for one in draw.sample(fit, FEET):
        yield Plant("lines dropped by repeated", "\n".join([*one, FOOT]), "", ())


def contaminated(queries: list[str], documents: list[str], others: list[tuple[str, str]], seed: int = 7) -> Iterator[tuple[str, str, str]]:
    """(tier, query, passage): evaluation texts within other pairs, each as its tier is said to find it."""
    draw, pairs = random.Random(seed), iter(others)
    for query, document in zip(queries, documents, strict=True):
        words, said, ((title, text), (_, more)) = query.split(), document.split(), (next(pairs) for _ in range(2))
        yield "exact", f"«{query.upper()}» ", more
        yield "ngram", title, f"{text} {' '.join(said[: len(said) * 2 // 3])}"
        yield "rouge", "Tell me: " + " ".join(w for i, w in enumerate(words) if i % 6 != 3), more
        yield "bm25", " ".join(draw.sample(words, len(words))), more
        yield "embedding", f"I would like to know this: {query}", more


def cut(text: str) -> list[str]:
    """The sentences of a text."""
    return [text[a:b] for a, b in sentences(text)]


def repeats(words: list[str]) -> bool:
    """Whether a run of five words stands twice."""
    runs = [tuple(words[i : i + 5]) for i in range(len(words) - 4)]
    return len(set(runs)) < len(runs)


def inside(said: list[str], more: str) -> str:
    """The sentences as one text, with another in their midst."""
    return " ".join([*said[:4], more, *said[4:]])


def with_copy(draw: random.Random, fit: list[list[str]], share: float) -> str:
    """A text that ends in a run of its own words of just that share of all characters."""
    for said in draw.sample(fit, len(fit)):
        words = " ".join(said).split()
        total = sum(map(len, words))
        for start in range(len(words) - 30):
            for size in range(11, 60):
                own = sum(map(len, words[start : start + size]))
                if abs(own / (total + own) - share) < 0.001 and start + size < len(words):
                    return " ".join([*words, *words[start : start + size]])
    raise AssertionError(f"no text has a run of {share}")


def phrase(size: int, share: float) -> Callable[[list[str], list[str]], str]:
    """Words with a run of ``size`` long ones put in so often that it has that share of the characters."""

    def make(said: list[str], pool: list[str]) -> str:
        words = " ".join(said).split()
        run = sorted({w for w in " ".join(pool).split() if w.isalpha() and w.islower() and w not in words}, key=lambda w: (-len(w), w))[:size]
        total, own = sum(map(len, words)), sum(map(len, run))
        often = int(share * total / (own * (1 - share))) + 1
        gap = len(words) // often
        for i in range(often):
            words[i * (gap + size) : i * (gap + size)] = run
        return " ".join(words)

    return make


def short_words(said: list[str], pool: list[str]) -> str:
    """Sentences of words of one or two letters."""
    return " ".join(f"It is as {a} of {b} to us." for a, b in zip("abcdefghijklm", "nopqrstuvwxyz", strict=True))


def long_words(said: list[str], pool: list[str]) -> str:
    """The longest words of all, with the stop words that make it prose."""
    words = list(dict.fromkeys(w for one in pool for w in one[:-1].split() if len(w) > 11 and w.isalpha()))[:90]
    return ". ".join("The " + " ".join(words[i : i + 10]) + " of" for i in range(0, len(words), 10)) + "."


def without_stop_words(said: list[str], pool: list[str]) -> str:
    """No stop word but the first, which stands often."""
    return " ".join(w for one in said for w in ["the", *one.split()] if w == "the" or w.lower().strip(",.();:") not in ENGLISH)


def numbered(said: list[str], pool: list[str]) -> str:
    """A number behind every second word."""
    return " ".join(f"{w} {i}" if i % 2 else w for i, w in enumerate(" ".join(said).split()))


def copied_lines(said: list[str], pool: list[str]) -> str:
    """Runs of four long words that stand as lines twice, with other lines between, so that no longer run is repeated."""
    lines, rest = pool[:14], pool[14:]
    fours = [" ".join(w[i : i + 4]) for one in rest if len(w := one[:-1].split()) > 6 for i in (1,)]
    chosen = sorted(set(fours), key=lambda s: (-len(s), s))[:7]
    return "\n".join(x for i, line in enumerate(lines) for x in (line, chosen[i % 7]))


def unended(said: list[str], pool: list[str]) -> str:
    """Thirty-six lines without a mark, and four with one."""
    return "\n".join([one[:-1] for one in pool[:36]] + pool[36:40])


def short_lines(said: list[str], pool: list[str]) -> str:
    """Four sentences, and twelve lines of three words of them."""
    heads = [" ".join(one.split()[:3]) for one in pool]
    return "\n".join(pool[:4] + [h + "." for h in dict.fromkeys(heads) if len(h) < 28][:14])


def paragraphs(said: list[str], pool: list[str]) -> str:
    """Two paragraphs of four lines, and one of a line three times."""
    return "\n\n".join(["\n".join(pool[:4]), "\n".join(pool[4:8]), pool[8], pool[8], pool[8]])


def blocks(said: list[str], pool: list[str]) -> str:
    """Six paragraphs of two lines, and the first two again."""
    pairs = ["\n".join(pool[i : i + 2]) for i in range(0, 12, 2)]
    return "\n\n".join([*pairs, *pairs[:2]])


_QUALITY: dict[str, Callable[[list[str], list[str]], str]] = {
    "gopher.min_words": lambda said, pool: " ".join(" ".join(said).split()[:40]) + ".",
    "gopher.max_words": lambda said, pool: " ".join(pool * (101_000 // len(" ".join(pool).split()) + 1)),
    "gopher.min_mean_word_length": short_words, "gopher.max_mean_word_length": long_words,
    "gopher.symbol_ratio": lambda said, pool: re.sub(r" (\w+ \w+ \w+)", r" #\1", " ".join(said)),
    "gopher.bullet_lines": lambda said, pool: "\n".join(f"- {one}" for one in said),
    "gopher.ellipsis_lines": lambda said, pool: "\n".join(f"{one}.." if i % 2 else one for i, one in enumerate(pool[:12])),
    "gopher.letter_words": numbered, "gopher.stop_words": without_stop_words,
    "repetition.duplicate_lines": lambda said, pool: "\n".join(pool[:8] + pool[:5]),
    "repetition.duplicate_paragraphs": paragraphs,
    "repetition.duplicate_line_characters": lambda said, pool: "\n".join(pool[:8] + sorted(pool[:8], key=len)[-3:]),
    "repetition.duplicate_paragraph_characters": blocks,
    "repetition.top_2gram": phrase(2, 0.22), "repetition.top_3gram": phrase(3, 0.2), "repetition.top_4gram": phrase(4, 0.18),
    "c4.sentences": lambda said, pool: re.sub(r"[.!?…]+(['\")\]]*)(?=\s)", r",\1", " ".join(said)),
    "c4.lorem_ipsum": lambda said, pool: inside(said, "Lorem ipsum dolor sit amet."),
    "c4.curly_brackets": lambda said, pool: inside(said, "Here x = {1} was set."),
    "fineweb.terminal_lines": unended, "fineweb.duplicate_lines": copied_lines, "fineweb.short_lines": short_lines,
    "fineweb.line_breaks": lambda said, pool: ("\n" * 12).join(said),
}  # fmt: skip
