"""Redact or reject what tells of a person: mail addresses, telephones, public IP addresses, IBANs, cards, SSNs.

Run it behind `repair_text`: a zero width sign within an address hides it. Patterns propose, checks decide: the checksum of a
card (Luhn, ISO/IEC 7812) and of an IBAN (ISO 7064 mod 97, length by country), the ranges that no SSN or address falls into,
`phonenumbers` (Google's libphonenumber) for a telephone.
What it catches is measured (tests/bench/curate_planted.py): of 500 of each kind in sentences of debian_docs_en all mail
addresses, IBANs and IPv6, 99.6 % of cards, 99.4 % of SSNs and of telephones with +, 99.6 % of those of the US without, 98 % of
IPv4; three other finds. It takes for what they are not: a bare 3-2-4 number for an SSN, always; a bare version of four numbers
of which one is above 63 for an address (220 of 500 versions), 2 % of any 16 digits for cards; no hash, UUID, MAC, ISBN, time or
DOI.
In debian_docs_en's 81 MB as they are: 3,112 mail addresses (by reading 84 of them ids of messages), 86 IPv4 and 25 IPv6, all
addresses by their form, most made up for examples; 44 telephones with +; a row of equal sizes as a card, no IBAN or SSN. A
neighbouring number hides none of what has a check digit. IBANs are found in capitals alone; letters of scripts without blanks,
as Japanese ones, are of no address.
"""

import ipaddress
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, operator, outcome_of, row_id, text, texts
from operators.sentences import UNSPACED
from operators.telephones import Span, phones

Kind = Literal["email", "iban", "credit_card", "us_ssn", "ipv6", "ipv4", "phone"]
KINDS: tuple[Kind, ...] = ("email", "iban", "credit_card", "us_ssn", "ipv6", "ipv4", "phone")  # of two that overlap the first
_HINT = r"[@＠]|\p{Nd}|::"  # without any of these no text holds what is looked for
# Signs that stand for those of ASCII, one for one so that no place moves: typeset blanks and hyphens, full width, other digits.
_SAME = {0x40 + 0xFEE0: "@", 0x2B + 0xFEE0: "+", 0x2E + 0xFEE0: ".", **dict.fromkeys([0xA0, 0x2007, 0x2009, 0x202F, 0x3000], " ")}
_SAME |= dict.fromkeys([0x2010, 0x2011, 0x2012, 0x2013, 0x2212, 0xFF0D], "-")
_SAME |= {zero + i: str(i) for zero in (0x660, 0x6F0, 0x966, 0xFF10) for i in range(10)}
# Letters of any script with blanks (RFC 6531): in Japanese an address stands between letters that are none of its own.
_L = f"[^\\W_{UNSPACED}]"
_EMAIL = re.compile(
    rf"(?<!{_L}[_.+%-])(?<!{_L}){_L}(?:{_L}|[_.+%-]|'(?={_L}|_)){{0,63}}@(?:{_L}(?:(?:{_L}|-){{0,61}}{_L})?\.){{1,8}}((?:(?!\d){_L}){{2,24}})"
    rf"(?!{_L}|[_-]{_L}|\.{_L})"  # a sign may stand around it, as _this@one.com_ in Markdown
)
# What stands behind an at sign and is no domain: of 101 such endings in 81 MB of man pages 56 were systemd's getty@tty1.service.
_NO_DOMAIN = frozenset([
    "service", "socket", "timer", "target", "mount", "automount", "swap", "path", "slice", "scope", "device",
    "conf", "cfg", "ini", "journal", "local", "localdomain", "localhost", "invalid", "example", "test", "tld", "domain",
    "mydomain", "lan", "internal", "onion", "png", "jpg", "jpeg", "gif", "svg", "html", "htm", "txt", "json", "xml",
    "yaml", "yml", "where", "here", "scheme", "address",
])  # fmt: skip
_NO_PERSON = frozenset(["git", "svn", "hg"])  # git@github.com:a/b.git: a repository's account
_EXAMPLE = re.compile(r"(?:^|\.)example\.(?:com|net|org)$")  # RFC 2606: nobody's
_IBAN = re.compile(r"(?<![\w])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}", re.ASCII)
_CARD = re.compile(
    r"(?<![\w.-])(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,4}(?P<tail>\1\d{1,3})?|3\d{3}([ -]?)\d{6}\3\d{4,5})(?![\w-]|\.\d)",
    re.ASCII,
)
_SSN = re.compile(  # no digit checks it: among numbers with blanks one with blanks is none
    r"(?<![\w.-])(?:(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-]|\.\d)"
    r"|(?<!\d )(?!000|666|9)\d{3} (?!00)\d\d (?!0000)\d{4}(?![\w-]| \d|\.\d))",
    re.ASCII,
)
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-f]{1,4}|:)(?::[0-9a-f]{0,4}){2,7}(?![\w:])", re.ASCII | re.IGNORECASE)
_TIME = re.compile(r"\d{4}::\d\d:\d\d:\d\d")
_VERSION = re.compile(
    r"(?:version|release|ver|rev|v|section|chapter|oid|build|firmware|driver|kernel|patch)[.:\s]*$", re.IGNORECASE
)
_CARDS = re.compile(r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
                    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}")  # fmt: skip
# Countries by the characters of their IBANs: the registry of ISO 13616.
_IBANS = {
    15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST",
    26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_IBAN_LENGTHS = {country: size for size, countries in _IBANS.items() for country in countries.split()}


class RedactPii(Params):
    """What is looked for in which columns, and what becomes of it."""

    columns: tuple[str, ...] = Field(default=("title", "text"), min_length=1)
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1)
    action: Literal["redact", "reject"] = "redact"
    placeholder: str = Field(default="<{kind}>", description="stands where it was; {kind} is email, phone and so on")
    region: str = Field(default="", pattern="^([A-Z]{2})?$", description="of telephones without +, as US; empty: none is")
    identify: dict[str, list[str]] = Field(
        default={"doc_id": ["title", "text"]}, description='id column: the columns that it is the hash of; "" is an empty one'
    )

    @model_validator(mode="after")
    def every_option_acts(self) -> Self:
        """Refuse what does nothing."""
        if len(set(self.kinds)) < len(self.kinds) or len(set(self.columns)) < len(self.columns):
            raise ValueError("kinds and columns name each once")
        if self.action == "reject" and self.moved("placeholder", "identify"):
            raise ValueError("placeholder and identify do nothing where action is reject: no text changes")
        if self.region and "phone" not in self.kinds:
            raise ValueError("region does nothing where kinds lacks phone")
        if found := [kind for kind in KINDS if list(_found(self.placeholder.replace("{kind}", kind), KINDS, self.region))]:
            raise ValueError(f"placeholder {self.placeholder!r} is itself an {found[0]}; it would be redacted again")
        return self


def _reads(p: RedactPii) -> Columns:
    if p.action == "reject":
        return dict.fromkeys(p.columns, text)
    hashed = [c for of in p.identify.values() for c in of if c]
    return {**dict.fromkeys(p.identify, row_id), **dict.fromkeys(dict.fromkeys([*p.columns, *hashed]), text)}


def _writes(p: RedactPii) -> Columns:
    changed = {} if p.action == "reject" else {**dict.fromkeys(p.identify, row_id), **dict.fromkeys(p.columns, text)}
    return {} if p.action == "reject" else {**changed, "pii": texts}


def _measure(table: pa.Table, p: RedactPii) -> Mapping[str, int]:
    if p.action == "reject":
        return {}
    counts = Counter(columns.flat(table["pii"])[1].to_pylist())
    return {f"redacted {kind}": counts[kind] for kind in KINDS if counts[kind]}


@operator(
    "map", version="3", reads=_reads, writes=_writes, rows="fewer", measure=_measure,
    libraries=lambda p: ["phonenumbers"] if "phone" in p.kinds else [],
)  # fmt: skip
def redact_pii(table: pa.Table, p: RedactPii) -> Outcome:
    """The rows with placeholders, and in ``pii`` the kind of each thing redacted; or the rows without any.

    The manifest counts the redactions by kind. A reject names the first kind, never the value: rejects are kept.
    """
    found: list[list[str]] = [[] for _ in range(len(table))]
    changed = np.zeros(len(table), bool)
    wide = table
    for name in p.columns:
        values = table[name].combine_chunks()
        suspect = pc.match_substring_regex(values, _HINT).to_numpy(zero_copy_only=False)
        made: list[str] = []
        for i in np.flatnonzero(suspect):
            said, kinds = redacted(values[int(i)].as_py(), p)
            made.append(said)
            found[i] += kinds
            changed[i] |= bool(kinds)
        if made and p.action == "redact":
            wide = columns.put(wide, name, pc.replace_with_mask(values, pa.array(suspect), pa.array(made, text)))
    if p.action == "reject":
        reasons = {int(i): (f"holds {found[i][0]}", f"{len(found[i])} found") for i in np.flatnonzero(changed)}
        return outcome_of(table, table.filter(pa.array(~changed)), reasons)
    return Outcome(columns.renewed(columns.put(wide, "pii", pa.array(found, texts)), p.identify, changed))


def redacted(said: str, p: RedactPii) -> tuple[str, list[str]]:
    """The text with placeholders, and the kinds of what they stand for, in order."""
    pieces, kinds, at = [], [], 0
    for start, end, kind in _found(said, p.kinds, p.region):
        pieces += [said[at:start], p.placeholder.replace("{kind}", kind)]
        kinds.append(str(kind))
        at = end
    return "".join([*pieces, said[at:]]), kinds


def _found(said: str, kinds: tuple[Kind, ...], region: str) -> Iterator[tuple[int, int, Kind]]:
    """What a text holds of these kinds, in order; where two overlap, the first of `KINDS`."""
    taken: list[tuple[int, int, Kind]] = []
    said = said if said.isascii() else said.translate(_SAME)
    for kind in KINDS:
        if kind in kinds:
            spans = phones(said, region) if kind == "phone" else _FINDERS[kind](said)
            starts, ends = [one[0] for one in taken], [0, *(one[1] for one in taken)]
            taken += [(start, end, kind) for start, end in spans if ends[bisect_left(starts, end)] <= start]
            taken.sort()
    yield from taken


def _emails(said: str) -> Iterator[Span]:
    if "@" in said:
        for match in _EMAIL.finditer(said):
            name, _, domain = match[0].partition("@")
            nobody = match[1].lower() in _NO_DOMAIN or name in _NO_PERSON or _EXAMPLE.search(domain.lower())
            if not (nobody or ".." in name or name[-1] == "."):
                yield match.span()


def _held(pattern: re.Pattern[str], said: str, end_of: Callable[[re.Match[str]], int]) -> Iterator[Span]:
    """What a pattern proposes and a check ends, at ``end_of`` its match or nowhere (0); the search goes on right behind."""
    at = 0
    while match := pattern.search(said, at):
        at = end_of(match) or match.start() + 1
        if at > match.start() + 1:
            yield match.start(), at


def _ibans(said: str) -> Iterator[Span]:
    return _held(_IBAN, said, _iban_end)


def _iban_end(match: re.Match[str]) -> int:
    said, size = match.string, _IBAN_LENGTHS.get(match[0][:2], 0)
    end, plain = match.start(), ""
    while end < match.end() and len(plain) < size:
        plain += said[end] if said[end].isalnum() else ""
        end += 1
    return end if size and len(plain) == size and not said[end : end + 1].isalnum() and _mod97(plain) == 1 else 0


def _mod97(iban: str) -> int:
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97


def _cards(said: str) -> Iterator[Span]:
    return _held(_CARD, said, _card_end)


def _card_end(match: re.Match[str]) -> int:
    """With its last group or, where a date follows the card, without."""
    for end in [match.end(), match.start("tail")] if match["tail"] and match[1] else [match.end()]:
        plain = re.sub(r"\D", "", match.string[match.start() : end])
        if _CARDS.fullmatch(plain) and luhn(plain):
            return end
    return 0


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812."""
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _ssns(said: str) -> Iterator[Span]:
    return (match.span() for match in _SSN.finditer(said))


def _ipv4s(said: str) -> Iterator[Span]:
    for match in _IPV4.finditer(said):
        numbers = [int(one) for one in match[0].split(".")]
        # Of 256 addresses one has no number above 63; of versions and sections nearly all have none. 0 and 255 end a net.
        version = _VERSION.search(said, max(0, match.start() - 12), match.start())
        if max(numbers) > 63 and 0 < numbers[3] < 255 and not version and _public(match[0]):
            yield match.span()


def _ipv6s(said: str) -> Iterator[Span]:
    for match in _IPV6.finditer(said):
        groups = [one for one in match[0].split(":") if one]
        # 2000::/3 is what is given out. Two groups are a net, and Erlang writes 2018::11:24:23 for a time of the day.
        given = len(groups) > 2 and len(groups[0]) == 4 and groups[0][0] in "23" and not _TIME.fullmatch(match[0])
        if given and _public(match[0]):
            yield match.span()


def _public(address: str) -> bool:
    """Whether an address is given out to someone: none of a local net, a document or a protocol."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_global and not found.is_multicast


_FINDERS: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "email": _emails, "iban": _ibans, "credit_card": _cards, "us_ssn": _ssns, "ipv6": _ipv6s, "ipv4": _ipv4s,
}  # fmt: skip


def example() -> Example:
    """Five texts: an address, a card, numbers that only look alike, a telephone, nothing."""
    said = [
        "Write to ann.lee@uni-bremen.de, please.", "Paid with 4111 1111 1111 1111.",
        "Order 4111 1111 1111 1112 from 192.168.0.1, v1.2.3.4",
        "Call +44 20 7946 0018 or +1 650-253-0000.", "Nothing here.",
    ]  # fmt: skip
    titles = ["Contact", "", "", "", "Calm"]
    table = pa.table({"title": pa.array(titles, text), "text": pa.array(said, text)})
    return Example(table.append_column("doc_id", columns.content_ids(titles, said)), RedactPii())
