"""Choose a paragraph of a long document that a query is then asked about; the query's positive is the whole document.

BGE-M3's MultiLongDoc (arXiv:2402.03216): a random paragraph, a question on it, the pair (question, document). Of its
documents a small share is cut in three and put together in another order.
"""

from random import Random

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Example, Outcome, Params, operator, outcome_of, row_id, text
from operators.sentences import Span, count_words, sentences

BUCKETS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)  # words; LongEmbed's lengths (arXiv:2404.12096), there in tokens


class ChooseParagraph(Params):
    """What is long, and how long a paragraph is; both in words."""

    min_words: int = Field(default=400, ge=1, description="of a document; a shorter one is a reject")
    paragraph_words: int = Field(default=120, ge=1, description="whole sentences up to so many")
    shuffled: float = Field(default=0.002, ge=0, le=1, description="share of documents cut in three and shuffled")
    seed: int = Field(default=0, ge=0)


@operator(
    "map", version="1", reads={"doc_id": row_id, "title": text, "text": text}, rows="fewer",
    writes={"passage_id": row_id, "passage": text, "paragraph": text, "start": pa.int32(), "length_bucket": pa.int32()},
)  # fmt: skip
def choose_paragraph(table: pa.Table, p: ChooseParagraph) -> Outcome:
    """Documents as one passage each, with a paragraph drawn by the document's id; `text` ends here."""
    kept, made, reasons = [], [], {}
    fields = zip(table["doc_id"].to_pylist(), table["title"].to_pylist(), table["text"].to_pylist(), strict=True)
    for i, (key, title, body) in enumerate(fields):
        size = count_words(body)
        if size < p.min_words:
            reasons[i] = ("document too short", str(size))
            continue
        draw = Random(columns.row_seed(p.seed, key))
        whole = _shuffled(body, draw) if draw.random() < p.shuffled else body
        start, end = paragraph(whole, p.paragraph_words, draw)
        kept.append(i)
        made.append((columns.content_id(title, whole), whole, whole[start:end], start, bucket(size)))
    wide = table.take(pa.array(kept, pa.int64())).drop_columns(["text"])
    names = ("passage_id", "passage", "paragraph", "start", "length_bucket")
    kinds = (row_id, text, text, pa.int32(), pa.int32())
    for n, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        wide = columns.put(wide, name, pa.array([row[n] for row in made], kind))
    return outcome_of(table, wide, reasons)


def paragraph(body: str, most: int, draw: Random) -> Span:
    """A run of whole sentences from a drawn one on, to the first that would go beyond ``most`` words."""
    spans = sentences(body)
    first = draw.randrange(len(spans))
    start, end = spans[first]
    size = count_words(body[start:end])
    for a, b in spans[first + 1 :]:
        size += count_words(body[a:b])
        if size > most:
            break
        end = b
    return start, end


def bucket(words: int) -> int:
    """The smallest of LongEmbed's lengths that holds so many words; the largest for more."""
    return next((b for b in BUCKETS if words <= b), BUCKETS[-1])


def _shuffled(body: str, draw: Random) -> str:
    """The three thirds, cut at sentences, in another order."""
    spans = sentences(body)
    if len(spans) < 3:
        return body
    cuts = [0, len(spans) // 3, 2 * len(spans) // 3, len(spans)]
    thirds = [body[spans[a][0] : spans[b - 1][1]] for a, b in zip(cuts, cuts[1:])]
    order = draw.choice([(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
    return "\n\n".join(thirds[i] for i in order)


def example() -> Example:
    """Three documents, one of them too short."""
    titles = ["Oaks", "Owls", "Ice"]
    oaks, owls = "Oaks grow slowly. They live long. Their wood is hard. ", "Owls hunt at night. They hear mice. "
    bodies = [oaks * 4, owls * 6, "Ice melts."]
    table = pa.table({"title": pa.array(titles, text), "text": pa.array(bodies, text)})
    table = table.append_column("doc_id", columns.content_ids(titles, bodies))
    return Example(table, ChooseParagraph(min_words=20, paragraph_words=10, shuffled=0.5))
