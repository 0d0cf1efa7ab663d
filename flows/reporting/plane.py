"""Vectors on a plane (t-SNE, van der Maaten and Hinton, 2008), and the words that tell a cluster from the others."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from flows.reporting.health import words
from operators.content import Array

FEW = 10  # points for which t-SNE says nothing


def plane(vectors: Array) -> Array:
    """Places (N, 2) of vectors (N, d), near where they are alike; seeded.

    On one thread (`threadpoolctl`) equal vectors are equal places.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(vectors) < 2:
        return np.zeros((len(vectors), 2))
    narrow = PCA(min(50, *vectors.shape), svd_solver="full").fit_transform(vectors.astype(np.float64))
    if len(vectors) <= FEW or not narrow[:, :2].all():
        flat: Array = np.zeros((len(vectors), 2))
        flat[:, : min(2, narrow.shape[1])] = narrow[:, :2]
        return flat
    near = min(30.0, (len(vectors) - 1) / 3)
    placed: Array = TSNE(2, perplexity=near, init="pca", random_state=0).fit_transform(narrow)
    return placed


def telling(texts: Sequence[str], groups: Sequence[str], count: int = 4) -> dict[str, list[str]]:
    """Words by group that more of its texts have than others do: by p log(p / q) of the shares of texts within and of all."""
    of: dict[str, Counter[str]] = {}
    sizes = Counter(groups)
    for text, group in zip(texts, groups, strict=True):
        of.setdefault(group, Counter()).update({w for w in words(text) if len(w) > 1 and not w.isdigit()})
    everywhere = sum(of.values(), Counter[str]())
    found = {}
    for group, said in of.items():
        inside = {w: n / sizes[group] for w, n in said.items() if n > 1 or sizes[group] < 5}
        weight = {w: p * math.log(p * len(texts) / everywhere[w]) for w, p in inside.items()}
        found[group] = sorted((w for w in weight if weight[w] > 0), key=lambda w: (-weight[w], w))[:count]
    return found
