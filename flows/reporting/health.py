"""Whether queries look as people's do, and whether the embedding space of a set is sound.

Against real queries: how well a classifier tells them apart (two-sample test, Lopez-Paz and Oquab, arXiv:1610.06545) beside how
well it tells two halves of the real ones apart; depth in embedding space and its rank-sum test (TTE depth, Seegmiller and
Preoţiuc-Pietro, arXiv:2310.15010); distinct-n (Li et al., arXiv:1510.03055) at equal length; lengths and repeats.
Space: skewness of k-occurrence (hubs, Radovanović et al., JMLR 2010), directions that the variance is spread over, similarity
by length (arXiv:2410.24200), and the rows that stand alone (mean distance to the nearest neighbours, Text-ADBench).
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from operators.content import Array

NEIGHBOURS = 10
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")  # a letter of scripts without blanks is a word
ENOUGH = 20  # queries on each side that a comparison asks for


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.casefold())


def style(queries: Sequence[str], tokens: int | None = None) -> dict[str, float]:
    """Mean and spread of words, repeats, and distinct-1 and -2 of the first ``tokens`` words (of more, fewer are distinct)."""
    cut = [words(q) for q in queries]
    sizes = np.array([len(c) for c in cut]) if cut else np.zeros(1)
    said = [w for c in cut for w in c][:tokens]
    pairs = list(zip(said, said[1:], strict=False))
    folded = Counter(" ".join(c) for c in cut)
    return {
        "queries": len(queries), "words": round(float(sizes.mean()), 2), "words_sd": round(float(sizes.std()), 2),
        "distinct_1": round(len(set(said)) / max(len(said), 1), 4), "distinct_2": round(len(set(pairs)) / max(len(pairs), 1), 4),
        "repeated": round(1 - len(folded) / max(len(queries), 1), 4),
    }  # fmt: skip


def tokens_of(queries: Sequence[str]) -> int:
    """How many words there are."""
    return sum(len(words(q)) for q in queries)


def told_apart(one: Array, other: Array) -> float:
    """Area under the ROC curve of a logistic regression between two samples (N, d), over five folds; 0.5: it cannot tell."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rows, kinds = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    said = cross_val_predict(LogisticRegression(max_iter=500), rows, kinds, cv=folds, method="predict_proba")[:, 1]
    return round(float(roc_auc_score(kinds, said)), 4)


def depth(one: Array, real: Array) -> dict[str, float]:
    """Mean depth of both samples of unit vectors among the real ones (2 less the mean cosine distance), and p by rank sums."""
    from scipy.stats import mannwhitneyu

    half = real[::2]  # the reference; the other half is compared, so that no query is near itself
    centre = half.mean(axis=0, dtype=np.float64)
    ours, theirs = 1 + one @ centre, 1 + real[1::2] @ centre
    p = float(mannwhitneyu(ours, theirs).pvalue)
    return {"set": round(float(ours.mean()), 4), "real": round(float(theirs.mean()), 4), "p": float(f"{p:.2g}")}


def compared(queries: Sequence[str], real: Sequence[str], encode: Any) -> dict[str, Any] | None:
    """The set's queries beside real ones; None where one side has too few."""
    if min(len(queries), len(real)) < ENOUGH:
        return None
    tokens = min(tokens_of(queries), tokens_of(real))
    one, other = encode(list(queries)), encode(list(real))
    size = min(len(one), len(other))
    return {
        "set": style(queries, tokens), "real": style(real, tokens), "tokens": tokens,
        "told_apart": told_apart(one[:size], other[:size]), "real_halves_told_apart": told_apart(other[::2], other[1::2]),
        "depth": depth(one, other),
    }  # fmt: skip


def copied(queries: Sequence[str], positives: Sequence[str]) -> Array:
    """The share of each query's words that its first positive has: (N,)."""
    shares = np.zeros(len(queries))
    for i, (query, positive) in enumerate(zip(queries, positives, strict=True)):
        asked = set(words(query))
        shares[i] = len(asked & set(words(positive))) / len(asked) if asked else 0.0
    return shares


def space(queries: Array, passages: Array, ids: Sequence[bytes], characters: Array) -> dict[str, Any]:
    """The space of query (N, d) and positive (N, d) unit vectors; ``ids`` (N,) of the positives, their ``characters`` (N,)."""
    _, first = np.unique(np.array([i.hex() for i in ids]), return_index=True)
    first = np.sort(first)
    hubs = occurrences(queries, passages[first])
    own = np.einsum("nd,nd->n", queries, passages, dtype=np.float64)
    return {
        "queries": len(queries), "passages": len(first), "neighbours": min(NEIGHBOURS, len(first)),
        "hub_skewness": round(skewness(hubs), 3), "largest_hub": int(hubs.max()),
        "never_found": round(float((hubs == 0).mean()), 4),
        "query_cosine": round(mean_cosine(queries), 4), "passage_cosine": round(mean_cosine(passages[first]), 4),
        "own_cosine": round(float(own.mean()), 4), "dimensions": round(dimensions(passages[first]), 1),
        "of": int(passages.shape[1]),
        "by_length": by_length(own, passages, characters),
    }  # fmt: skip


def occurrences(queries: Array, passages: Array) -> Array:
    """How many queries have each passage (M,) among their `NEIGHBOURS` nearest."""
    near = min(NEIGHBOURS, len(passages))
    scored = queries @ passages.T
    top = np.argsort(-scored, axis=1, kind="stable")[:, :near]
    return np.bincount(top.ravel(), minlength=len(passages))


def skewness(counts: Array) -> float:
    """Third standardised moment; 0 where all are alike."""
    apart = counts - counts.mean()
    spread = float(np.sqrt((apart**2).mean()))
    return float((apart**3).mean()) / spread**3 if spread else 0.0


def mean_cosine(vectors: Array) -> float:
    """The mean cosine of two different rows; 0 in a space without a common direction."""
    n = len(vectors)
    total = vectors.sum(axis=0, dtype=np.float64)
    return float((total @ total - np.einsum("nd,nd->", vectors, vectors, dtype=np.float64)) / (n * (n - 1))) if n > 1 else 0.0


def dimensions(vectors: Array) -> float:
    """Over how many directions the variance is spread: (Σλ)² / Σλ² of the covariance's eigenvalues."""
    if len(vectors) < 2:
        return 0.0
    spread = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False).astype(np.float64) ** 2
    return float(spread.sum() ** 2 / (spread**2).sum()) if spread.any() else 0.0


def by_length(own: Array, passages: Array, characters: Array) -> list[dict[str, Any]]:
    """By quarters of the positives' length: cosine with their query, and of two positives of the quarter."""
    found = []
    for rows in np.array_split(np.argsort(characters, kind="stable"), 4):
        if len(rows) > 1:
            ends = [int(characters[rows].min()), int(characters[rows].max())]
            means = {"own": round(float(own[rows].mean()), 4), "others": round(mean_cosine(passages[rows]), 4)}
            found.append({"characters": ends, **means})
    return found


def alone(queries: Array) -> Array:
    """The mean cosine distance of each query to its nearest others: (N,)."""
    near = min(NEIGHBOURS, len(queries) - 1)
    if near < 1:
        return np.zeros(len(queries))
    scored = queries @ queries.T
    np.fill_diagonal(scored, -np.inf)
    top = -np.sort(-scored, axis=1)[:, :near]
    out: Array = 1 - top.mean(axis=1, dtype=np.float64)
    return out
