"""Drop listed: every planted entry is found, whole words only, as in a plain loop; domains and URLs by what they stand below."""

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.flow import content_params, load
from operators import drop_listed as drop_listed_module
from operators.contract import InputError, apply, text
from operators.drop_listed import DropListed, _word_finder, drop_listed
from operators.list_file import Listed, entries


@pytest.fixture
def listed(tmp_path):
    def write(*entries, name="list.txt"):
        (tmp_path / name).write_text("\n".join(entries) + "\n", encoding="utf-8")
        return str(tmp_path / name)

    return write


def dropped(said, **given_):
    outcome = apply(drop_listed, pa.table({"text": pa.array(said, text)}), DropListed(**given_))
    return {r["_row"]: (r["reason"], r["value"]) for r in outcome.rejects.to_pylist()}


def test_every_planted_word_is_found_and_no_part_of_one(listed):
    words = ["spam", "Buy Now", "Straße", "ﬁn", "c++", "ばか", "x-rated"]
    hits = ["SPAM!", "please buy\n now.", "STRASSE 1", "the fin", "in C++, too", "それはばかです", "an X-Rated film"]
    misses = ["spammer", "buy nowhere", "Straßenbahn", "finish", "c+", "ばｶ1"[:1], "x-rate", "antispam", "spam_filter", ""]
    found = dropped([x for pair in zip(hits, misses, strict=False) for x in pair] + misses[7:], lists={"bad": listed(*words)})
    assert sorted(found) == [2 * i for i in range(len(hits))]
    assert {reason for reason, _ in found.values()} == {"listed in bad"}


@given(st.lists(st.text("ab c", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=5), st.text("abc _.", max_size=30))
def test_words_are_found_as_by_a_loop_over_the_list(words, said):
    folded = [" ".join(w.split()) for w in words]
    plain = " ".join(said.split())
    wanted = {w for w in folded if re.search(rf"(?<!\w){re.escape(w)}(?!\w)", plain)}
    assert set(_word_finder(tuple(words))(said)) == wanted


def test_the_first_list_that_has_enough_different_words_rejects(listed):
    lists = {"hard": listed("vile", name="h"), "soft": listed("poker", "casino", "bet", name="s")}
    said = ["poker poker poker", "poker and casino", "vile poker", "calm"]
    assert dropped(said, lists=lists) == {
        0: ("listed in soft", "poker"), 1: ("listed in soft", "poker, casino"), 2: ("listed in hard", "vile"),
    }  # fmt: skip
    assert sorted(dropped(said, lists={"soft": lists["soft"]}, at_least=2)) == [1]


def test_domains_and_urls_reach_down_and_not_beside(listed):
    path = listed("bad.example", "good.org/ads", "bücher.example", "# a.b", "10.0.0.1")
    hit = ["http://bad.example/x", "https://www.bad.example", "a.b.BAD.example:8080/y?z", "good.org/ads/1", "https://good.org/ads?x=1",
           "http://xn--bcher-kva.example/", "ftp://10.0.0.1/f", "http://user:pw@bad.example./", "good.org/%61ds"]  # fmt: skip
    miss = ["http://notbad.example", "http://bad.example.org", "good.org", "good.org/adsorb", "http://[bad/", "", "not a url", "a.b",
            "http://" + "a" * 70 + ".é.org/"]  # fmt: skip
    found = dropped(hit + miss, lists={"urls": path}, match="urls")
    assert sorted(found) == [0, 1, 2, 3, 5, 6, 7, 8]  # good.org/ads?x=1 is another page than /ads
    assert found[3] == ("listed in urls", "good.org/ads")


def test_a_list_is_known_by_its_bytes_not_by_its_place(listed, tmp_path):
    flow = "flow: f\nsteps:\n  corpus: {op: read_corpus, with: {path: c.jsonl}}\n  calm: {op: drop_listed, from: corpus, with: {lists: {a: %s}}}\n"
    (tmp_path / "c.jsonl").write_text('{"_id": "1", "text": "x"}\n')
    prints = []
    for name in ("one.txt", "two.txt"):
        listed("spam", name=name)
        (tmp_path / "flow.yaml").write_text(flow % name)
        prints.append(content_params(load(tmp_path / "flow.yaml").step("calm")))
    assert prints[0] == prints[1]
    assert prints[0]["lists"]["a"].startswith("sha256:")
    (tmp_path / "flow.yaml").write_text(flow % "three.txt")
    with pytest.raises(InputError, match="there is no list 'three.txt' in .*; write it or mend its name"):
        load(tmp_path / "flow.yaml")


def test_a_list_that_changes_under_a_worker_is_one_sentence(listed):
    kept = Listed.model_validate(listed("spam")).model_dump_json()
    listed("other")
    entries.cache_clear()  # as in another process
    with pytest.raises(InputError, match="changed while the flow ran"):
        Listed.model_validate_json(kept).entries  # noqa: B018


@pytest.mark.parametrize(
    ("raw", "name", "told"),
    [(b"\xff\xfe", "a.txt", "is not UTF-8"), (b"# only\n\n", "b.txt", "has no entry"), (b"plain", "c.gz", "is no gzip file")],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path, raw, name, told):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(ValueError, match=told):
        DropListed(lists={"a": str(tmp_path / name)})
    (tmp_path / "ok").write_text("x")
    with pytest.raises(ValueError, match="at_least does nothing"):
        DropListed(lists={"a": str(tmp_path / "ok")}, match="urls", at_least=2)


def test_a_word_is_no_part_of_one_that_goes_on_with_a_vowel_sign(listed):
    assert sorted(dropped(["कमी है", "कम है", "कम।"], lists={"bad": listed("कम")})) == [1, 2]


def test_an_invisible_sign_hides_no_word_and_an_entry_of_such_alone_names_none(listed):
    said = ["sp\u200bam", "s\u00adpam!", "calm"]
    assert sorted(dropped(said, lists={"bad": listed("spam", "\u200b")})) == [0, 1]


@given(st.lists(st.text("ab c", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=4), st.text("abc ", max_size=40), st.integers(1, 9))
def test_where_a_long_text_is_cut_changes_nothing_that_is_found(words, said, size):
    whole, before = set(_word_finder(tuple(words))(said)), drop_listed_module._LONG
    drop_listed_module._LONG = size
    try:
        assert set(_word_finder(tuple(words))(said)) == whole
    finally:
        drop_listed_module._LONG = before


def test_a_list_whose_gzip_is_damaged_is_one_sentence(tmp_path):
    import gzip

    body = bytearray(gzip.compress(b"spam\n"))
    body[10:12] = b"\xff\xff"
    (tmp_path / "l.gz").write_bytes(body)
    with pytest.raises(ValidationError, match="is no gzip file"):
        Listed.model_validate(str(tmp_path / "l.gz"))
