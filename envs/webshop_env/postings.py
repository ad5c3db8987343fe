"""The inverted index: which documents hold a term, and how much BM25 makes of it.

Built in one reading of the catalogue with blocks that go to disk, so memory grows with the vocabulary and not with the
text; a stored index is mapped, not read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.format import open_memmap

from webshop_env.analysis import analyze
from webshop_env.catalogue import Catalogue

FORMAT = "1"  # raise it when the analysis, the formula or the files change: older caches are then built anew
BLOCK_POSTINGS = 1 << 21
K1, B = np.float32(0.9), np.float32(0.4)
ONE = np.float32(1)


@dataclass
class Postings:
    """terms: term -> number; starts[number] to starts[number + 1]: its postings. documents: rank of the asin (int32);
    saturation: 1 + tf * norm (float32); document_count: documents with at least one term."""

    terms: dict[str, int]
    starts: list[int]
    documents: np.ndarray
    saturation: np.ndarray
    document_count: int


def build_postings(catalogue: Catalogue, folder: Path | None = None) -> Postings:
    """Indexes a catalogue, in `folder` (written atomically) or, without one, in memory."""
    if folder is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder.parent if folder else None) as spill:
        terms, frequencies, lengths, blocks = _write_blocks(catalogue, spill)
        starts = np.concatenate([[0], np.cumsum(frequencies)]).astype(np.int64)
        total = int(starts[-1])
        if folder is None:
            documents, saturation = np.empty(total, np.int32), np.empty(total, np.float32)
            _place(spill, blocks, starts, _norms(lengths), documents, saturation)
            return Postings(terms, starts.tolist(), documents, saturation, int(np.count_nonzero(lengths)))
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        part.mkdir(exist_ok=True)
        documents = open_memmap(part / "documents.npy", "w+", np.int32, (total,))
        saturation = open_memmap(part / "saturation.npy", "w+", np.float32, (total,))
        _place(spill, blocks, starts, _norms(lengths), documents, saturation)
    del documents, saturation
    np.save(part / "starts.npy", starts)
    # No term holds a line break, and a lone surrogate of a broken text has to survive the round trip.
    (part / "terms.txt").write_bytes("\n".join(terms).encode("utf-8", "surrogatepass"))
    (part / "format.txt").write_text(f"{FORMAT} {np.count_nonzero(lengths)}", encoding="utf-8")
    loaded = load_postings(folder)
    if loaded is None:  # otherwise another process was faster, and its index is the same
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        loaded = load_postings(folder)
    shutil.rmtree(part, ignore_errors=True)
    assert loaded is not None
    return loaded


def load_postings(folder: Path) -> Postings | None:
    """A stored index, mapped from disk; None if there is none of this format."""
    if not (folder / "format.txt").exists():
        return None
    version, count = (folder / "format.txt").read_text(encoding="utf-8").split()
    if version != FORMAT:
        return None
    terms = (folder / "terms.txt").read_bytes().decode("utf-8", "surrogatepass").split("\n")
    starts = np.load(folder / "starts.npy").tolist()
    return Postings(
        {term: number for number, term in enumerate(terms)} if starts[-1] else {},
        starts,
        np.asarray(np.load(folder / "documents.npy", mmap_mode="r")),  # slices of a memmap object cost microseconds
        np.asarray(np.load(folder / "saturation.npy", mmap_mode="r")),
        int(count),
    )


def quantized_length(length: int) -> int:
    """A document length as Lucene's one byte keeps it (SmallFloat.intToByte4): exact below 40, then four bits."""
    if length < 24:
        return length
    rest = length - 24
    shift = max(rest.bit_length() - 4, 0)
    return 24 + (rest >> shift << shift)


def _norms(lengths: np.ndarray) -> np.ndarray:
    """norm(d) of every document, float32 in each step as in BM25Similarity.scorer."""
    count = int(np.count_nonzero(lengths))
    if not count:
        return np.ones(len(lengths), np.float32)
    average = np.float32(int(lengths.sum()) / count)
    quantized = np.array([quantized_length(length) for length in lengths.tolist()], np.float32)
    return ONE / (K1 * ((ONE - B) + B * quantized / average))


def _write_blocks(catalogue: Catalogue, spill: IO[bytes]) -> tuple[dict[str, int], np.ndarray, np.ndarray, list[int]]:
    """Term numbers, documents per term, document lengths (by rank) and the size of each (term, document, tf) block."""
    ranks = np.empty(len(catalogue), np.int32)
    ranks[sorted(range(len(catalogue)), key=catalogue.asins.__getitem__)] = np.arange(len(catalogue), dtype=np.int32)
    terms: dict[str, int] = {}
    lengths = np.zeros(len(catalogue), np.int64)
    block_terms, block_documents, block_counts = array("i"), array("i"), array("i")
    blocks: list[int] = []
    frequencies = np.zeros(0, np.int64)

    def flush() -> None:
        nonlocal frequencies
        numbers = np.frombuffer(block_terms, np.int32)
        grown = np.zeros(len(terms), np.int64)
        grown[: len(frequencies)] = frequencies
        frequencies = grown + np.bincount(numbers, minlength=len(terms))
        rows = [numbers, np.frombuffer(block_documents, np.int32), np.frombuffer(block_counts, np.int32)]
        spill.write(np.stack(rows).data)
        blocks.append(len(numbers))

    for rank, product in zip(ranks.tolist(), catalogue, strict=True):
        found = analyze(product.document)
        lengths[rank] = len(found)
        counts = Counter(found)
        block_terms.extend([terms.setdefault(term, len(terms)) for term in counts])
        block_counts.extend(counts.values())
        block_documents.extend([rank] * len(counts))
        if len(block_terms) >= BLOCK_POSTINGS:
            flush()
            block_terms, block_documents, block_counts = array("i"), array("i"), array("i")
    if block_terms:
        flush()
    return terms, frequencies, lengths, blocks


def _read_blocks(spill: IO[bytes], blocks: list[int]) -> Iterator[np.ndarray]:
    spill.seek(0)
    for size in blocks:
        yield np.frombuffer(spill.read(size * 12), np.int32).reshape(3, size)


def _place(
    spill: IO[bytes],
    blocks: list[int],
    starts: np.ndarray,
    norms: np.ndarray,
    documents: np.ndarray,
    saturation: np.ndarray,
) -> None:
    """Sorts the blocks by term, one after the other, into the two output arrays."""
    filled = starts[:-1].copy()
    for numbers, ranks, counts in _read_blocks(spill, blocks):
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        # The place of a posting: where its term is filled to, plus how many of the term came before in this block.
        firsts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
        sizes = np.diff(np.r_[firsts, len(numbers)])
        within = np.arange(len(numbers)) - np.repeat(firsts, sizes)
        places = filled[numbers] + within
        filled[numbers[firsts]] += sizes
        documents[places] = ranks[order]
        saturation[places] = ONE + counts[order].astype(np.float32) * norms[ranks[order]]
