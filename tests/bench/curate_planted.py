"""Curation on planted violations: is each found by its rule, is nothing else dropped, and what does redaction catch.

`planted`: every rule of filter_quality, drop_listed, redact_pii, detect_language, repair_text and drop_lines, five times among
2,000 abstracts of scifact (tests/planted.py): how many of them its step rejects for its reason, how many of the abstracts it rejects
beside, more than without the plants (`more`), and how many without them (`own`). `tiers`: queries and documents of cisi among 500
titles with their abstracts, each tier alone at the thresholds of drop_contaminated. `pii`: 500 values a kind, made at random with
valid checksums, in sentences of debian_docs_en; found whole or not, and what else is found there. `alike`: 500 of each thing that
only looks like one, by what it is taken for. `corpus`: finds in up to 20,000 documents of collections as they are, which nobody
judged. CURATE_PARTS=pii,alike measures these anew, the rest stands.
"""

import ipaddress
import os
import random
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import phonenumbers
import pyarrow.parquet as pq

from cluster.store import Store
from operators.redact_pii import KINDS, RedactPii, luhn, redacted
from tests.bench.harness import data, save, stored
from tests.curation import documents, planted, tiers
from tests.planted import BRANCHES, TIERS

DOCUMENTS, SEEDS, VALUES, PAIRS, QUERIES, SAMPLE = 2000, 5, 500, 500, 20, 20_000
Make = Callable[[random.Random], str]
US = RedactPii(region="US")
WRAPS = ("{}", "({})", "{},", "<{}>", "is {}.", "'{}'", "at {};")


def main() -> None:
    save("curate_planted", rows())


def rows() -> list[dict]:
    """Every part's rows, which BENCH=curate joins with those of the consistency filter."""
    asked = [part for part in os.environ.get("CURATE_PARTS", "").split(",") if part] or list(PARTS)
    kept = [row for row in stored("curate_planted") if row["part"] not in asked]
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as folder:
        return sorted([*kept, *(row for part in asked for row in PARTS[part](Path(folder)))], key=lambda row: list(PARTS).index(row["part"]))


def of_rules(home: Path) -> Iterator[dict]:
    made = planted(home, Store(str(home / "store")), documents(data(), DOCUMENTS), SEEDS)
    hits, size = Counter[str](), Counter(p.name for p in made.plants)
    for i, plant in enumerate(made.plants):
        key = f"plant {i}"
        told = {step: rejects[key] for step, rejects in made.rejects.items() if key in rejects}
        mended = made.lines[key]["repairs"] + made.lines[key]["dropped_lines"] if key in made.lines else []
        by_step = plant.step and told.get(plant.step, ("",))[0] in plant.reasons
        hits[plant.name] += bool(by_step or (not plant.step and mended == [plant.name.split()[-1]])) and {*told} <= {plant.step, *plant.may}
    own = Counter(reason for step in BRANCHES for reason, _ in made.before[step].values())
    after = Counter(reason for step in BRANCHES for k, (reason, _) in made.rejects[step].items() if not k.startswith("plant"))
    reason = {p.name: p.reasons[0] if p.reasons else "" for p in made.plants}
    for name, count in size.items():
        why = reason[name]
        yield {"part": "planted", "rule": name, "planted": count, "found": hits[name], "more": after[why] - own[why], "own": own[why]}
    yield {"part": "planted", "rule": "all", "planted": len(made.plants), "found": hits.total(), "more": (after - own).total(), "own": own.total()}


def of_tiers(home: Path) -> Iterator[dict]:
    found = tiers(home, Store(str(home / "store")), data(), PAIRS, QUERIES)
    for tier in TIERS:
        yield {"part": "tiers", "rule": tier, "planted": found.rows[tier], "found": found.hit[tier][tier], "more": found.hit[tier]["real"]}


def of_kinds(home: Path) -> Iterator[dict]:
    """Recall of values and precision of finds, in sentences without any find."""
    draw = random.Random(7)
    calm = [s for s in sentences_of("debian_docs_en") if not redacted(s, US)[1]]
    for name, make in MAKE.items():
        kind, hit, other = name.split()[0], 0, 0
        for _ in range(VALUES):
            words = draw.choice(calm).split()
            wrap, at = draw.choice(WRAPS), draw.randrange(len(words) + 1)
            said, told = (" ".join([*words[:at], wrap.format(one), *words[at:]]) for one in (make(draw), f"<{kind}>"))
            new, kinds = redacted(said, US)
            hit += new == told
            other += len(kinds) - (new == told)
        yield {"part": "pii", "rule": name, "planted": VALUES, "found": hit, "recall": hit / VALUES, "precision": round(hit / max(hit + other, 1), 4)}


def of_alike(home: Path) -> Iterator[dict]:
    draw = random.Random(7)
    for name, make in ALIKE.items():
        taken = Counter(kind for _ in range(VALUES) for kind in redacted(f"see {make(draw)} here", US)[1])
        told = ", ".join(f"{n} {kind}" for kind, n in taken.most_common())
        yield {"part": "alike", "rule": name, "planted": VALUES, "found": taken.total(), "as": told}


def of_corpora(home: Path) -> Iterator[dict]:
    for name in ("debian_docs_en", "scifact", "cisi", "xquad", "jaquad"):
        texts = pq.read_table(data() / name / "corpus.parquet", columns=["text"])["text"].to_pylist()
        texts = random.Random(7).sample(texts, min(SAMPLE, len(texts)))
        kinds = Counter(kind for text in texts for kind in redacted(text, RedactPii())[1])
        yield {"part": "corpus", "rule": name, "documents": len(texts), "found": kinds.total(), "as": ", ".join(f"{kinds[k]} {k}" for k in KINDS if kinds[k])}


def sentences_of(name: str) -> list[str]:
    """Single lines of prose of a collection, 2,000 of them."""
    texts = pq.read_table(data() / name / "corpus.parquet", columns=["text"])["text"].to_pylist()
    lines = [" ".join(t.split()) for t in random.Random(7).sample(texts, 4000)]
    return [line for line in lines if 40 <= len(line) <= 300][:2000]


def digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choice("0123456789") for _ in range(count))


def email(draw: random.Random) -> str:
    first, last = (draw.choice(["ann", "Bob", "chloe", "dmitri", "eve", "o'neil", "lee", "münster", "garcía", "j"]) for _ in range(2))
    name = draw.choice([f"{first}.{last}", f"{first}{digits(draw, 2)}", f"{first}_{last}+news", f"{first}-{last}"])
    host = draw.choice(["uni-bremen", "acme", "mail.acme", "gmail", "müller", "x2y"])
    return f"{name}@{host}.{draw.choice(['de', 'com', 'co.uk', 'org', 'photography', 'io'])}"


def iban(draw: random.Random) -> str:
    country, inner = draw.choice([
        ("DE", digits(draw, 18)), ("GB", "WEST" + digits(draw, 14)), ("FR", digits(draw, 10) + "0500013M026" + digits(draw, 2)),
        ("NO", digits(draw, 11)), ("NL", "ABNA" + digits(draw, 10)), ("CH", digits(draw, 17)), ("ES", digits(draw, 20)),
    ])  # fmt: skip
    check = 98 - int("".join(str(int(c, 36)) for c in f"{inner}{country}00")) % 97
    plain = f"{country}{check:02d}{inner}"
    return draw.choice([plain, " ".join(plain[i : i + 4] for i in range(0, len(plain), 4))])


def card(draw: random.Random) -> str:
    head = draw.choice(["4", "51", "55", "2221", "2720", "6011", "65", "37", "34", "3528"])
    size = 15 if head[0] == "3" and head[1] in "47" else 16
    body = head + digits(draw, size - 1 - len(head))
    plain = body + next(d for d in "0123456789" if luhn(body + d))
    cuts = [(0, 4), (4, 10), (10, 15)] if size == 15 else [(i, i + 4) for i in range(0, 16, 4)]
    return draw.choice([plain, *(mark.join(plain[a:b] for a, b in cuts) for mark in " -")])


def ssn(draw: random.Random) -> str:
    area = draw.choice([n for n in range(1, 900) if n != 666])
    mark = draw.choice("- ")
    return mark.join([f"{area:03d}", f"{draw.randrange(1, 100):02d}", f"{draw.randrange(1, 10000):04d}"])


def ipv4(draw: random.Random) -> str:
    while not (found := ipaddress.ip_address(draw.randrange(1 << 24, 224 << 24))).is_global:
        pass
    return str(found)


def ipv6(draw: random.Random) -> str:
    while not (found := ipaddress.IPv6Address((draw.choice([0x2001, 0x2600, 0x2A00, 0x2A02]) << 112) + draw.getrandbits(112))).is_global:
        pass
    groups = found.exploded.split(":")
    return draw.choice([str(found), found.exploded, ":".join(groups[:4]) + "::" + str(draw.randrange(1, 99))])


def phone(draw: random.Random, region: str = "") -> str:
    home = region or draw.choice(["US", "DE", "GB", "FR", "IN", "BR", "JP", "ES", "PL", "SE"])
    form = phonenumbers.PhoneNumberFormat
    kind = draw.choice([phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE])
    like = phonenumbers.example_number_for_type(home, kind)
    while True:
        said = str(like.national_number)
        like.national_number = int(said[:-4] + digits(draw, 4))
        if phonenumbers.is_valid_number(like):
            return phonenumbers.format_number(like, form.NATIONAL if region else draw.choice([form.E164, form.INTERNATIONAL]))


def hexes(draw: random.Random, count: int) -> str:
    return "".join(draw.choice("0123456789abcdef") for _ in range(count))


def version(draw: random.Random) -> str:
    return ".".join(str(draw.choice([draw.randrange(12), draw.randrange(30), draw.randrange(300)])) for _ in range(4))


MAKE: dict[str, Make] = {
    "email": email, "iban": iban, "credit_card": card, "us_ssn": ssn, "ipv6": ipv6, "ipv4": ipv4, "phone with +": phone,
    "phone of the US": lambda draw: phone(draw, "US"),
}  # fmt: skip
ALIKE: dict[str, Make] = {
    "version of four numbers": version, "version, told so": lambda draw: f"version {version(draw)}",
    "MD5": lambda draw: hexes(draw, 32), "SHA-1": lambda draw: hexes(draw, 40), "SHA-256": lambda draw: hexes(draw, 64),
    "UUID": lambda draw: str(uuid.UUID(int=draw.getrandbits(128))), "MAC": lambda draw: ":".join(hexes(draw, 2) for _ in range(6)),
    "ISBN-13": lambda draw: f"978-{digits(draw, 1)}-{digits(draw, 4)}-{digits(draw, 4)}-{digits(draw, 1)}",
    "timestamp": lambda draw: f"20{digits(draw, 2)}-0{draw.randrange(1, 10)}-1{digits(draw, 1)}T1{digits(draw, 1)}:2{digits(draw, 1)}:3{digits(draw, 1)}",
    "16 digits": lambda draw: digits(draw, 16), "10 digits": lambda draw: digits(draw, 10),
    "IBAN with a slip": lambda draw: (one := iban(draw))[:-1] + str((int(one[-1]) + 1) % 10),
    "card with a slip": lambda draw: (one := card(draw))[:-1] + str((int(one[-1]) + 1) % 10),
    "part number 3-2-4": ssn, "row of a table": lambda draw: " ".join(digits(draw, draw.choice([2, 3, 4, 4])) for _ in range(6)),
    "local address": lambda draw: f"192.168.{draw.randrange(256)}.{draw.randrange(256)}",
    "unit of systemd": lambda draw: f"getty@tty{draw.randrange(9)}.service", "git remote": lambda draw: f"git@github.com:a{digits(draw, 2)}/b.git",
    "real number": lambda draw: f"{digits(draw, 5)}.{digits(draw, 6)}", "C++ name": lambda draw: f"abc::def::{hexes(draw, 4)}",
    "range of years": lambda draw: f"19{digits(draw, 2)}-20{digits(draw, 2)}", "DOI": lambda draw: f"10.{digits(draw, 4)}/s{digits(draw, 5)}-{digits(draw, 3)}-{digits(draw, 4)}-{digits(draw, 1)}",
}  # fmt: skip

PARTS = {"planted": of_rules, "tiers": of_tiers, "pii": of_kinds, "alike": of_alike, "corpus": of_corpora}

if __name__ == "__main__":
    main()
