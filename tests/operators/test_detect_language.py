"""Detect language: German from English, planted wrong languages are found, mixed rows are told, unknown codes refused."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import ROW, apply, text
from operators.detect_language import DetectLanguage, detect_language, example, languages

SAID = {
    "de": [
        "Der Hund schläft unter dem Tisch.",
        "Wir fahren morgen mit dem Zug nach Hause.",
        "Das Wetter war gestern sehr schön.",
    ],
    "fr": ["Le chien dort sous la table.", "Nous rentrons demain en train à la maison.", "Le temps était très beau hier."],
    "en": ["The dog sleeps under the table.", "We go home by train tomorrow.", "The weather was very nice yesterday."],
    "nl": ["De hond slaapt onder de tafel.", "Wij gaan morgen met de trein naar huis.", "Het weer was gisteren erg mooi."],
}


def told(said: list[str], **given_) -> list[dict]:
    out = apply(detect_language, pa.table({"passage": pa.array(said, text)}), DetectLanguage(**given_)).table
    return out.drop_columns([ROW]).to_pylist()


@pytest.mark.parametrize("identifier", ["eld", "langid"])
def test_planted_wrong_languages_are_below_the_limit_and_right_ones_above(identifier: str) -> None:
    for expected in SAID:
        said = [s for group in SAID.values() for s in group]
        out = told(said, expected=expected, among=tuple(SAID), identifier=identifier)
        right = [row["passage"] in SAID[expected] for row in out]
        assert [row["lang_score"] >= 0.5 for row in out] == right
        assert [row["detected_lang"] == expected for row in out] == right


def test_without_an_expected_language_the_score_is_of_the_detected_one() -> None:
    for lang, said in SAID.items():
        for row in told(said):
            assert row["detected_lang"] == lang
            assert 0.3 < row["lang_score"] <= 1


def test_a_text_without_letters_has_no_language() -> None:
    case = example()
    row = apply(detect_language, case.table, case.params).table.to_pylist()[3]
    assert (row["detected_lang"], row["lang_score"], row["lang_share"], row["langs"]) == ("", 0, 0, [])
    assert told(["42", "", "\0", "😀"], identifier="langid")[0]["detected_lang"] == ""


def test_a_long_text_is_read_to_its_end() -> None:
    banner = "We use cookies to make this page better, and you may say no to them. " * 15  # a thousand characters
    body = "Der Hund schläft den ganzen Tag unter dem Tisch, und am Abend geht er in den Garten. " * 200
    row = told([banner + body])[0]
    assert row["detected_lang"] == "de" and 0.5 < row["lang_score"] < 0.99


def test_a_zero_byte_does_not_end_a_text() -> None:
    assert told(["a\0b " + SAID["de"][0]])[0]["detected_lang"] == "de"


def test_a_row_of_two_languages_is_told_by_its_segments() -> None:
    pure, mixed = " ".join(SAID["de"]), " ".join(SAID["de"]) + "\n\n" + " ".join(SAID["en"][:2])
    whole, half, most = told([pure, mixed, mixed], expected="de", segment_chars=20)
    assert (whole["lang_share"], whole["langs"]) == (1, ["de"])
    assert half["langs"] == ["de", "en"]
    assert half["lang_share"] == pytest.approx(len(pure) / len(mixed), abs=0.05)
    assert most == half
    assert told([pure + " Yes."], segment_chars=20)[0]["langs"] == ["de"]  # a short last segment joins that before it
    assert told([mixed], expected="en", segment_chars=20)[0]["lang_share"] == pytest.approx(1 - half["lang_share"])


@given(st.lists(st.text(max_size=60), max_size=6))
def test_shares_are_shares_whatever_the_text(said: list[str]) -> None:
    for row in told(said, segment_chars=10):
        assert 0 <= row["lang_score"] <= 1
        assert row["lang_share"] <= 1
        assert len(set(row["langs"])) == len(row["langs"])
        assert (row["lang_share"] > 0) == bool(row["langs"])


def test_an_unknown_code_is_refused_before_anything_runs() -> None:
    assert detect_language.check is not None
    assert "'german' is no language" in detect_language.check(DetectLanguage(expected="german"), {})[0]
    assert "is not in among" in detect_language.check(DetectLanguage(expected="de", among=("en", "fr")), {})[0]
    assert detect_language.check(DetectLanguage(expected="de"), {}) == []


def test_a_language_that_only_the_other_identifier_knows_is_named() -> None:
    assert "sw" in languages("langid")
    assert "set identifier: langid" in detect_language.check(DetectLanguage(expected="sw"), {})[0]
    assert detect_language.check(DetectLanguage(expected="sw", identifier="langid"), {}) == []


@pytest.mark.parametrize("among", [("de",), ("de", "de", "en")])
def test_languages_among_which_nothing_is_left_to_detect_are_refused(among: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="each language once, and at least two"):
        DetectLanguage(among=among)


def test_a_long_row_of_dots_takes_no_long_time() -> None:
    assert told(["Das ist das Ende" + "." * 300_000 + "x"], segment_chars=80)[0]["detected_lang"] == "de"
