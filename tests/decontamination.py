"""The flow that looks for evaluation texts by every tier, which a test and two benchmarks run over rows of their own."""

_STEPS = """
  index:    {{op: index_evaluation, from: [{queries}, {documents}], with: {runs}}}
  texts:    {{op: index_texts, from: {searched}}}
  terms:    {{op: fit_bm25, from: {searched}}}
  vectors:  {{op: embed, from: {searched}, using: {{encoder: {encoder}}}, with: {{column: passage}}}}
  pairs:    {{op: read_pairs, with: {{path: pairs.jsonl, licence: CC0-1.0}}}}
  matched:  {{op: match_evaluation, from: pairs, using: {{evaluation: index}}, with: {{columns: [query, passage]}}}}
  lexical:  {{op: retrieve_bm25, from: matched, against: {searched}, using: {{statistics: terms}}, with: {{top_k: {top_k}}}}}
  embedded: {{op: embed, from: lexical, using: {{encoder: {encoder}}}, with: {{column: query}}}}
  dense:    {{op: retrieve_dense, from: embedded, against: vectors, with: {{top_k: {top_k}}}}}
  scored:
    op: score_overlap
    from: dense
    using: {{texts: texts, statistics: terms}}
    with: {{candidates: [bm25_ids, candidate_ids], measures: [rouge_l, bm25]}}
"""
_ASKED = """
  asked:    {op: read_queries, with: {path: evaluation.jsonl, source: queries}}
  told:     {op: read_corpus, with: {path: documents.jsonl, source: documents}}
  whole:    {op: split_passages, from: told, with: {max_words: null, min_words: 1}}
  queries:
    op: fill_texts
    from: asked
    with: {texts: {passage: "{query}", title: ""}, identify: {passage_id: [title, passage]}}
"""


def searching(queries: str, documents: str, searched: str, encoder: str, top_k: int, runs: str = "{}") -> str:
    """The steps from evaluation texts, which the named steps give as passages, to ``scored`` rows of pairs.jsonl.

    ``searched``: the step whose rows BM25 and the encoder look among, each text once; ``runs``: the params of index_evaluation.
    """
    return _STEPS.format(queries=queries, documents=documents, searched=searched, encoder=encoder, top_k=top_k, runs=runs)


def scoring(name: str, encoder: str, top_k: int = 10) -> str:
    """A flow of evaluation.jsonl (queries, which are searched) and documents.jsonl to ``scored`` rows of pairs.jsonl."""
    return f"flow: {name}\nsteps:{_ASKED}{searching('queries', 'whole', 'queries', encoder, top_k)}"
