"""Detect language: German from English, planted wrong languages are found, unknown codes refused."""

import pyarrow as pa

from operators.contract import apply, text
from operators.detect_language import DetectLanguage, detect_language, example

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


def test_planted_wrong_languages_are_below_the_limit_and_right_ones_above() -> None:
    for expected in SAID:
        said = [s for group in SAID.values() for s in group]
        p = DetectLanguage(expected=expected, among=tuple(SAID))
        out = apply(detect_language, pa.table({"passage": pa.array(said, text)}), p).table.to_pylist()
        right = [row["passage"] in SAID[expected] for row in out]
        assert [row["lang_score"] >= 0.5 for row in out] == right
        assert [row["detected_lang"] == expected for row in out] == right


def test_a_text_without_letters_has_no_language() -> None:
    case = example()
    row = apply(detect_language, case.table, case.params).table.to_pylist()[3]
    assert (row["detected_lang"], row["lang_score"]) == ("", 0)


def test_an_unknown_code_is_refused_before_anything_runs() -> None:
    assert detect_language.check is not None
    assert "'german' is no language" in detect_language.check(DetectLanguage(expected="german"), {})[0]
    assert "is not in among" in detect_language.check(DetectLanguage(expected="de", among=("en",)), {})[0]
    assert detect_language.check(DetectLanguage(expected="de"), {}) == []
