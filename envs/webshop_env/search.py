"""The shop's search: Okapi BM25 with the numbers, the order and the ties of the original Lucene index.

Source: Lucene 9 BM25Similarity and SmallFloat, k1 = 0.9 and b = 0.4 (Anserini), all in 32-bit floats:

    norm(d)  = 1 / (k1 * ((1 - b) + b * length(d) / average))      length after Lucene's one-byte quantisation
    score(d) = sum over terms of  w - w / (1 + tf * norm(d)),  w = times in query * ln(1 + (N - df + 0.5) / (df + 0.5))

summed in 64 bits and rounded to 32; equal scores in the order of the asins.
"""

from __future__ import annotations

import warnings
from collections import Counter
from math import log
from pathlib import Path
from typing import Protocol

import numpy as np

from webshop_env.analysis import analyze
from webshop_env.catalogue import Catalogue
from webshop_env.postings import Postings, build_postings, load_postings

# Different terms in a query. With more the original raises in the middle of a step (Lucene's TooManyClauses); here the
# rest of the query is ignored.
MAX_TERMS = 1024
PARTITIONED_HITS = 4096  # from here on it pays to find the k-th score before sorting


class Retriever(Protocol):
    """What a shop needs to search: any object with this method can take the place of `Search`."""

    def top(self, query: str, k: int = 50) -> list[str]:
        """The asins of at most k hits, best first."""
        ...


class Search:
    """BM25 over the documents of a catalogue.

    cache: the folder in which the index is kept; None keeps it in memory only. By default the folder of the catalogue,
    which is None for generated ones. remembered: how many latest queries keep their hits in memory.
    """

    def __init__(self, catalogue: Catalogue, cache: Path | None = None, remembered: int = 4096) -> None:
        # Documents are numbered by rank of asin, so that a stable sort by score leaves ties in the order of asins.
        self._asins = sorted(catalogue.asins)
        folder = cache or catalogue.cache
        self.postings = self._stored(catalogue, folder) if folder else build_postings(catalogue)
        self._idf = _idf(self.postings)
        self._starts = np.array(self.postings.starts)
        self._limit = remembered
        self._latest: dict[tuple[str, int], tuple[str, ...]] = {}

    @staticmethod
    def _stored(catalogue: Catalogue, folder: Path) -> Postings:
        path = folder / f"index-{catalogue.source_key}"
        try:
            return load_postings(path) or build_postings(catalogue, path)
        except OSError as error:
            warnings.warn(f"{path}: {error.strerror}, the index stays in memory: set WEBSHOP_CACHE", stacklevel=3)
            return build_postings(catalogue)

    def top(self, query: str, k: int = 50) -> list[str]:
        """The asins of the k best products, best first; empty if no term of the query occurs in any product."""
        hits = self._latest.get((query, k))
        if hits is None:
            hits = self._top(query, k)
            if self._limit:
                if len(self._latest) >= self._limit:
                    del self._latest[next(iter(self._latest))]
                self._latest[query, k] = hits
        return list(hits)

    def _top(self, query: str, k: int) -> tuple[str, ...]:
        scores = self.scores(query)
        hits = np.flatnonzero(scores)
        if len(hits) > max(PARTITIONED_HITS, k):
            least = np.partition(scores[hits], len(hits) - k)[len(hits) - k]
            hits = hits[scores[hits] >= least]
        best = hits[np.argsort(-scores[hits], kind="stable")[:k]]
        return tuple(self._asins[document] for document in best)

    def scores(self, query: str) -> np.ndarray:
        """float32 score of every document, in the order of the sorted asins; 0 where no term occurs."""
        known = self.postings.terms
        counts = list(Counter(analyze(query)).items())[:MAX_TERMS]
        found = [(known[term], count) for term, count in counts if term in known]
        if not found:
            return np.zeros(len(self._asins), dtype=np.float32)
        numbers, times = np.array(found).T
        firsts = self._starts[numbers]
        sizes = self._starts[numbers + 1] - firsts
        # All postings of all terms as one index: the terms stand in the order of the query, which the sum follows.
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1]) + np.repeat(firsts - ends + sizes, sizes)
        weights = np.repeat(times.astype(np.float32) * self._idf[numbers], sizes)
        parts = weights - weights / self.postings.saturation[places]
        documents = self.postings.documents[places]
        return np.bincount(documents, weights=parts, minlength=len(self._asins)).astype(np.float32)


def _idf(postings: Postings) -> np.ndarray:
    count = postings.document_count
    frequencies = np.diff(postings.starts).tolist()
    return np.array([log(1 + (count - df + 0.5) / (df + 0.5)) for df in frequencies], dtype=np.float32)
