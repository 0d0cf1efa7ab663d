"""Choose a paragraph: drawn by the document's id, whole sentences, its document as the positive."""

from collections import Counter
from random import Random

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.choose_paragraph import BUCKETS, ChooseParagraph, bucket, choose_paragraph, paragraph
from operators.columns import content_id, content_ids
from operators.contract import apply, text
from operators.sentences import sentences


def run(bodies: list[str], p: ChooseParagraph) -> list[dict[str, object]]:
    titles = ["t"] * len(bodies)
    table = pa.table({"doc_id": content_ids(titles, bodies), "title": pa.array(titles, text), "text": pa.array(bodies, text)})
    rows: list[dict[str, object]] = apply(choose_paragraph, table, p).table.to_pylist()
    return rows


def body(n: int, size: int = 40) -> str:
    return " ".join(f"Sentence {i} of document {n} says little." for i in range(size))


def test_a_paragraph_stands_in_its_document_where_start_says_and_is_whole_sentences() -> None:
    for row in run([body(n) for n in range(20)], ChooseParagraph(min_words=50, paragraph_words=25, shuffled=0.3)):
        whole, chosen, start = str(row["passage"]), str(row["paragraph"]), row["start"]
        assert isinstance(start, int)
        assert whole[start : start + len(chosen)] == chosen
        assert chosen.startswith("Sentence")
        assert chosen.endswith("little.")
        assert row["passage_id"] == content_id("t", whole)


def test_places_are_spread_over_the_document() -> None:
    rows = run([body(n) for n in range(400)], ChooseParagraph(min_words=50, paragraph_words=8, shuffled=0))
    thirds = Counter(3 * int(str(row["start"])) // len(str(row["passage"])) for row in rows)
    assert all(90 < thirds[i] < 180 for i in range(3))


def test_short_documents_are_rejected_and_the_share_is_shuffled() -> None:
    assert run(["Too short."], ChooseParagraph()) == []
    bodies = [body(n) for n in range(300)]
    plain = set(bodies)
    moved = [row for row in run(bodies, ChooseParagraph(min_words=50, shuffled=0.2)) if row["passage"] not in plain]
    assert 35 < len(moved) < 85
    for row in moved:
        assert sorted(str(row["passage"]).replace("\n\n", " ").split()) in [sorted(b.split()) for b in bodies]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=10), st.integers(1, 40), st.integers(0, 9))
def test_a_paragraph_is_at_most_so_many_words_or_one_sentence(sizes: list[int], most: int, seed: int) -> None:
    said = " ".join(" ".join(["Word"] * n) + "." for n in sizes)
    start, end = paragraph(said, most, Random(seed))
    assert len(said[start:end].split()) <= most or len(sentences(said[start:end])) == 1


@given(st.integers(1, 60_000))
def test_a_bucket_holds_its_words(words: int) -> None:
    assert bucket(words) >= min(words, BUCKETS[-1])
    assert bucket(words) in BUCKETS
