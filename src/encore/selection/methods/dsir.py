"""DSIR: the examples whose words and word pairs are more the targets' than the pool's, by hashed n-gram models.

Source: Xie et al. (arXiv 2302.03169) and its package data-selection: unigrams and bigrams hashed to 10,000 buckets; the
importance weight of a text is the ratio of its likelihoods under the target's and the pool's bag of buckets. The
package draws without replacement by adding Gumbel noise to the log weights; `sample=False` takes the largest.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from encore.selection.context import SelectionContext
from encore.selection.selected import Selection, best

TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "wordpunct": re.compile(r"\w+|[^\w\s]+").findall,
    "whitespace": str.split,
}
_SMOOTHING = 1e-8
_DECIMALS = 8


class Method:
    name = "dsir"
    label = "DSIR"

    def skip(self, context: SelectionContext) -> str | None:
        return None

    def select(self, context: SelectionContext) -> Selection:
        chosen = context.choices(tokenizer=tuple(TOKENIZERS), buckets=10_000, sample=True)
        weights = log_weights(context.pool_texts, context.target_texts, chosen["tokenizer"], chosen["buckets"])
        about = [{"log_weight": float(weight)} for weight in weights]
        scores = weights.round(_DECIMALS)
        if chosen["sample"]:
            scores = scores + context.random.gumbel(size=len(scores))
        return Selection(*best(scores, context.budget, excluded=context.excluded, about=about), chosen)


def log_weights(
    pool: Sequence[str], targets: Sequence[str], tokenizer: str = "wordpunct", buckets: int = 10_000
) -> Float[np.ndarray, " examples"]:
    """Σ over a text's n-grams of ln(p + 1e-8) − ln(q + 1e-8): p, q the targets' and the pool's share of its bucket."""
    known: dict[str, int] = {}
    counts = _counts(pool, tokenizer, buckets, known)
    of_pool = counts.sum(0)
    of_targets = _counts(targets, tokenizer, buckets, known).sum(0)
    shares = [one / max(one.sum(), 1) + _SMOOTHING for one in (of_targets, of_pool)]
    return counts @ (np.log(shares[0]) - np.log(shares[1]))


def bucket(ngram: str, buckets: int = 10_000) -> int:
    """Where an n-gram is counted: SHA-256 of its UTF-8 bytes, as a number, modulo the buckets."""
    return int(hashlib.sha256(ngram.encode()).hexdigest(), 16) % buckets


def _counts(texts: Sequence[str], tokenizer: str, buckets: int, known: dict[str, int]) -> csr_array:
    columns: list[int] = []
    ends = [0]
    for text in texts:
        tokens = TOKENIZERS[tokenizer](text.lower())
        for ngram in [*tokens, *(f"{one} {other}" for one, other in pairwise(tokens))]:
            found = known.get(ngram)
            if found is None:
                found = known[ngram] = bucket(ngram, buckets)
            columns.append(found)
        ends.append(len(columns))
    return csr_array((np.ones(len(columns)), np.array(columns, np.int64), np.array(ends)), shape=(len(texts), buckets))
