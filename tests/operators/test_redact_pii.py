"""Redact: what is planted is found by kind and checked by its checksum, what looks alike stays, ids follow, rejects tell no value."""

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns import content_id, content_ids
from operators.contract import apply, text
from operators.redact_pii import KINDS, RedactPii, luhn, redact_pii, redacted

PLANTED = {
    "email": ["ann.lee@uni-bremen.de", "o'brien+x@cs.acme.co.uk", "A_B%c@mail.photography", "josé@acme.de", "user@münchen.de", "иван@почта.рф", "ann＠acme.de"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "FR1420041010050500013M02606", "NO93 8601 1117 947", "DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000"],
    "credit_card": ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005", "6011111111111117", "4111\u00a01111\u00a01111\u00a01111", "4111\u20111111\u20111111\u20111111", "４１１１ １１１１ １１１１ １１１１"],
    "us_ssn": ["078-05-1120", "219 09 9999"],
    "ipv4": ["93.184.216.34", "8.8.8.200"],
    "ipv6": ["2606:2800:220:1:248:1893:25c8:1946", "2a00:1450:4001::200e"],
    "phone": ["+44 20 7946 0958", "+1 650-253-0000", "+4930901820", "+44\u00a020\u00a07946\u00a00958", "+1\u2011650\u2011253\u20110000", "+٤٩٣٠٩٠١٨٢٠"],
}
ALIKE = [
    "getty@tty1.service", "user@localhost", "@pytest.mark", "joe@example.com", "a@b", "x@2x.png", "foo..bar@acme.de", "git@host:path",
    "DE89 3704 0044 0532 0130 01", "XX82WEST12345698765432", "4111 1111 1111 1112", "1234 5678 9012 3456", "14111111111111111",
    "000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "192.168.1.100", "127.0.0.1", "10.20.30.140", "224.0.0.99",
    "255.255.255.0", "version 7.64.100.2", "2.6.8.1", "1.2.3.4.5", "300.1.1.1", "fe80::1:2:3", "2001:db8::1:2", "dead::beef", "std::ab",
    "2018::11:24:23", "12:34:56", "+1 234", "650-253-0000", "2147483647", "2024-10-26 01", "3.14159265358979", "ISBN 978-3-16-148410-0", "git@github.com:a/b.git", "12 123 45 6789", "123 45 6789 10", "Build 22.4.188.16", "firmware 4.15.200.33",
    "d41d8cd98f00b204e9800998ecf8427e", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "4532015112830366-aa",
    "Chrome/120.0.6099.109", "123e4567-e89b-12d3-a456-426614174000", "00:1a:2b:3c:4d:5e", "DE89370400440532013000X",
]  # fmt: skip
WRAPS = ["{}", "({})", "see {}, and", "<{}>", "'{}'.", "it is {}; so", "{}\n"]


def run(said, **given_):
    table = pa.table({"title": pa.array([""] * len(said), text), "text": pa.array(said, text)})
    return apply(redact_pii, table.append_column("doc_id", content_ids([""] * len(said), said)), RedactPii(**given_))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_what_is_planted_is_found_whole_and_by_its_kind(kind, wrap):
    said = [wrap.format(one) for one in PLANTED[kind]]
    rows = run(said).table.to_pylist()
    assert [row["text"] for row in rows] == [wrap.format(f"<{kind}>")] * len(said)
    assert [row["pii"] for row in rows] == [[kind]] * len(said)
    assert [row["doc_id"] for row in rows] == [content_id("", row["text"]) for row in rows]
    without = tuple(k for k in KINDS if k != kind)
    assert not any(kind in row["pii"] for row in run(said, kinds=without).table.to_pylist())


@pytest.mark.parametrize("alike", ALIKE)
def test_what_only_looks_alike_stays(alike):
    for wrap in WRAPS:
        assert redacted(wrap.format(alike), RedactPii()) == (wrap.format(alike), [])


@given(st.lists(st.sampled_from([one for group in PLANTED.values() for one in group] + ALIKE + ["word", "und"]), min_size=1, max_size=8))
def test_no_redaction_leaves_any_and_the_rest_of_the_text_stays(parts):
    said = " | ".join(parts)
    new, kinds = redacted(said, RedactPii())
    assert redacted(new, RedactPii()) == (new, [])
    assert kinds == [k for one in parts for k, group in PLANTED.items() if one in group]
    assert [p for p in new.split(" | ") if not p.startswith("<")] == [p for p in parts if p in ALIKE or p in ("word", "und")]


def test_of_ten_numbers_one_is_a_card_and_every_slip_of_a_digit_is_seen():
    good = "4242424242424242"
    assert sum(luhn(good[:-1] + d) for d in "0123456789") == 1
    draw = random.Random(0)
    for _ in range(100):
        at = draw.randrange(16)
        wrong = good[:at] + draw.choice([d for d in "0123456789" if d != good[at]]) + good[at + 1 :]
        assert not luhn(wrong)


def test_an_address_between_letters_that_set_no_blanks_is_found_alone():
    assert redacted("連絡先はann@acme.jpまで", RedactPii())[0] == "連絡先は<email>まで"
    assert redacted("อีเมลann@acme.co.thครับ", RedactPii())[0] == "อีเมล<email>ครับ"


@pytest.mark.parametrize(
    ("said", "wanted", "region"),
    [
        ("Card 4111 1111 1111 1111 12/27 CVV 123", "Card <credit_card> 12/27 CVV 123", ""),
        ("4111111111111111 5500000000000004", "<credit_card> <credit_card>", ""),
        ("2023 4111 1111 1111 1111", "2023 <credit_card>", ""),
        ("SSN 123-45-6789 1990-01-02", "SSN <us_ssn> 1990-01-02", ""),
        ("DE89370400440532013000 GB29NWBK60161331926819", "<iban> <iban>", ""),
        ("Ref AB12 DE89370400440532013000", "Ref AB12 <iban>", ""),
        ("_ann@firm.com_ -bob@firm.com eve@firm.com--me", "_<email>_ -<email> <email>--me", ""),
        ("call +44 20 7946 0018 17.30", "call <phone> 17.30", ""),
        ("+49 30 227 32152 2024-05-01 10:20:30", "<phone> 2024-05-01 10:20:30", ""),
        ("650-253-0000 415-555-2671 212-555-0123", "<phone> <phone> <phone>", "US"),
        ("(650) 253-0000 2024-01-15 09.30", "<phone> 2024-01-15 09.30", "US"),
    ],
)
def test_what_stands_a_blank_or_a_sign_away_hides_nothing(said, wanted, region):
    assert redacted(said, RedactPii(region=region))[0] == wanted


def test_a_region_reads_its_own_telephones_and_no_plain_numbers():
    said = "Call (212) 555-2368 or 408.934.7274; it took 17284.993657 s, 2147483647 bytes, 16/2097152 16, 2014-10-26 01."
    new, kinds = redacted(said, RedactPii(region="US"))
    assert (new.count("<phone>"), kinds) == (2, ["phone", "phone"])
    assert new.endswith("it took 17284.993657 s, 2147483647 bytes, 16/2097152 16, 2014-10-26 01.")
    assert redacted("Ruf 030 901820 an.", RedactPii(region="DE"))[0] == "Ruf <phone> an."


def test_of_two_that_overlap_the_first_kind_stands():
    assert redacted("212-555-2368@acme.de or 212-555-2368", RedactPii(region="US"))[0] == "<email> or <phone>"


def test_a_reject_names_the_kind_and_never_the_value():
    outcome = run(["calm", "x@acme.de and 93.184.216.34", "calm too"], action="reject")
    assert outcome.table["text"].to_pylist() == ["calm", "calm too"]
    assert "pii" not in outcome.table.column_names
    assert [(r["_row"], r["reason"], r["value"]) for r in outcome.rejects.to_pylist()] == [(1, "holds email", "2 found")]


def test_redactions_are_counted_and_titles_too():
    table = pa.table({"title": pa.array(["x@acme.de", "calm"], text), "text": pa.array(["y@acme.de 93.184.216.34", "calm"], text)})
    table = table.append_column("doc_id", content_ids(table["title"].to_pylist(), table["text"].to_pylist()))
    outcome = apply(redact_pii, table, RedactPii(placeholder="[{kind}]")).table
    assert outcome["title"].to_pylist() == ["[email]", "calm"]
    assert redact_pii.measure(outcome, RedactPii()) == {"redacted email": 2, "redacted ipv4": 1}
    assert outcome["doc_id"][1] == table["doc_id"][1]
    assert outcome["doc_id"][0].as_py() == content_id("[email]", "[email] [ipv4]")


def test_long_runs_that_almost_match_take_no_long_time():
    for said in ("DE12" + "A1" * 30 + " ", "a@" + "b." * 200, "1.2." * 50 + " ", "4111 " * 60, "::1:" * 60, "+1 2 3 4 5 6 7 8 9 0 "):
        assert redacted(said * 400, RedactPii(region="US"))[0]


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"action": "reject", "placeholder": "x"}, "placeholder and identify do nothing"),
        ({"kinds": ("email",), "region": "US"}, "region does nothing"),
        ({"kinds": ("email", "email")}, "name each once"),
        ({"placeholder": "nobody@acme.de"}, "is itself an email"),
        ({"region": "usa"}, "region"),
    ],
)
def test_options_that_do_nothing_are_refused(given_, told):
    with pytest.raises(ValueError, match=told):
        RedactPii(**given_)


def test_a_worker_that_is_told_every_field_takes_them():
    for p in (RedactPii(action="reject"),):
        assert RedactPii.model_validate_json(p.model_dump_json()) == p
