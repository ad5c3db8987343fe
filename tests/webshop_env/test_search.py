"""BM25: equals the formula written out, keeps ties, survives any query, and can be replaced."""

from __future__ import annotations

from collections import Counter
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webshop_env import Catalogue, Product, Search, Shop, WebShopEnv, generate_shop
from webshop_env.analysis import analyze
from webshop_env.postings import build_postings, load_postings, quantized_length

f32 = np.float32


def plain_bm25(catalogue: Catalogue, query: str) -> list[str]:
    """The formula of the module, document by document, without an index."""
    documents = {product.asin: Counter(analyze(product.document)) for product in catalogue}
    lengths = {asin: sum(counts.values()) for asin, counts in documents.items()}
    average = f32(sum(lengths.values()) / len(documents))
    scores = {}
    for asin, counts in documents.items():
        length = f32(quantized_length(lengths[asin]))
        norm = f32(1) / (f32(0.9) * ((f32(1) - f32(0.4)) + f32(0.4) * length / average))
        total = 0.0
        for term, times in Counter(analyze(query)).items():
            df = sum(term in other for other in documents.values())
            if term in counts:
                weight = f32(times) * f32(log(1 + (len(documents) - df + 0.5) / (df + 0.5)))
                total += float(weight - weight / (f32(1) + f32(counts[term]) * norm))
        scores[asin] = float(f32(total))
    return sorted((asin for asin in scores if scores[asin] > 0), key=lambda asin: (-scores[asin], asin))[:50]


def test_equals_the_formula() -> None:
    shop = generate_shop(25, seed=1)
    search = Search(shop.catalogue)
    for index in range(0, len(shop.goals), 12):
        query = shop.goals[index].instruction_text
        assert search.top(query) == plain_bm25(shop.catalogue, query)
    assert search.top("lamp lamp warm wool for the office") == plain_bm25(
        shop.catalogue, "lamp lamp warm wool for the office"
    )


def twin(asin: str, title: str = "red lamp") -> Product:
    return Product(asin, title, "", (), (1.0,), {}, "garden", "lamps", "Home › Lighting › Lamps", ())


def test_equal_scores_go_by_asin_whatever_the_order_of_the_catalogue() -> None:
    asins = ["B3", "A9", "C1", "B1", "A10"]
    assert Search(Catalogue([twin(asin) for asin in asins])).top("lamp") == sorted(asins)


def test_many_hits_are_cut_like_few() -> None:
    products = [twin(f"P{number:05d}", "lamp" if number % 3 else "lamp lamp") for number in range(6000)]
    search = Search(Catalogue(products))
    best = [product.asin for product in products if product.title == "lamp lamp"]
    assert search.top("lamp", 50) == best[:50]
    assert search.top("lamp", 5000) == (best + [p.asin for p in products if p.title == "lamp"])[:5000]


@pytest.mark.parametrize(
    "query", ["", " ", "\n", "the of and", "😀", "日本語 lamp", "\ud800", "zzzz", "lamp " * 50_000]
)
def test_any_query_is_answered(query: str, shop: Shop) -> None:
    hits = shop.search.top(query)
    assert len(hits) <= 50 and set(hits) <= set(shop.catalogue.asins)


def test_a_query_of_too_many_terms_is_cut_to_the_first_1024(shop: Shop) -> None:
    filler = " ".join(f"filler{number}" for number in range(1023))
    assert shop.search.top(f"{filler} lamp chair") == shop.search.top("lamp")


@given(st.text(max_size=40))
def test_a_search_is_a_function_of_its_query(query: str) -> None:
    search = SEARCH
    assert search.top(query) == search.top(query)
    assert search.top(query, 3) == search.top(query)[:3]


SEARCH = Search(generate_shop(40, seed=2).catalogue)


def test_a_stored_index_is_the_same_index(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webshop_env.postings.BLOCK_POSTINGS", 500)  # several blocks
    built = build_postings(shop.catalogue)
    stored = build_postings(shop.catalogue, tmp_path / "index")
    again = load_postings(tmp_path / "index")
    assert again is not None
    for other in (stored, again):
        assert (built.terms, built.starts, built.document_count) == (other.terms, other.starts, other.document_count)
        assert np.array_equal(built.documents, other.documents)
        assert np.array_equal(built.saturation, other.saturation)
    (tmp_path / "index" / "format.txt").write_text("0 1")
    assert load_postings(tmp_path / "index") is None  # an older format is built anew


def test_a_cache_that_cannot_be_written_is_told_and_done_without(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="set WEBSHOP_CACHE"):
        search = Search(shop.catalogue, cache=tmp_path / "file")
    assert search.top("lamp") == shop.search.top("lamp")


def test_another_retriever_can_take_its_place() -> None:
    class LastProducts:
        def top(self, query: str, k: int = 50) -> list[str]:
            return ["not sold here", *sorted(base.catalogue.asins)[-3:]]

    base = generate_shop(20)
    shop = generate_shop(20, search=LastProducts())
    env = WebShopEnv(shop)
    env.reset(0)
    assert "Total results: 3" in env.step("search[anything]").observation


def test_quantized_lengths() -> None:
    assert [quantized_length(n) for n in (0, 23, 31, 39, 40, 41, 56, 57, 100, 1000)] == [
        0, 23, 31, 39, 40, 40, 56, 56, 96, 984,
    ]  # fmt: skip
