"""What each baseline computes: golden scores and orders, and small cases that can be checked by eye."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from encore.selection import SelectionContext, embeddings, method
from encore.selection.methods.bm25 import mean_scores
from encore.selection.methods.dsir import bucket, log_weights
from encore.selection.selected import best
from encore.selection.similarity import closeness

POOL = [f"text number {place}" for place in range(6)]


def choose(name, fraction=0.5, **fields):
    return method(name).select(
        SelectionContext(**{"pool_texts": POOL, "target_texts": ["aim"]} | fields, fraction=fraction)
    )


@pytest.fixture
def golden(shared):
    folder = shared("fixtures/math/baselines")
    texts = json.loads((folder / "texts.json").read_text())
    return texts["train"], texts["target"], np.load(folder / "golden.npz")


def test_bm25_golden(golden):
    pool, targets, wanted = golden
    np.testing.assert_allclose(mean_scores(pool, targets), wanted["bm25"], atol=1e-9)
    for target, row in zip(targets, wanted["bm25_matrix"], strict=True):
        np.testing.assert_allclose(mean_scores(pool, [target]), row, atol=1e-9)
    assert best(mean_scores(pool, targets).round(10), len(pool))[0] == wanted["bm25_order"].tolist()


@pytest.mark.parametrize("tokenizer", ["whitespace", "wordpunct"])
def test_dsir_golden(golden, tokenizer):
    pool, targets, wanted = golden
    found = log_weights(pool, targets, tokenizer)
    np.testing.assert_allclose(found, wanted[f"dsir_logw_{tokenizer}"], rtol=1e-8)
    scores = found.round(8)
    assert best(scores, len(pool))[0] == wanted[f"dsir_order_{tokenizer}"].tolist()
    drawn = wanted[f"dsir_sample_order_{tokenizer}"].tolist()
    assert best(found + wanted["gumbel"], len(drawn))[0] == drawn


def test_dsir_buckets(shared):
    for one in json.loads(shared("fixtures/math/baselines/hash_examples.json").read_text()):
        assert bucket(one["text"]) == one["bucket"]


def test_rds_golden(golden):
    _, _, wanted = golden
    pool, targets = wanted["train_vectors"], wanted["target_vectors"]
    np.testing.assert_allclose(closeness(pool, targets), wanted["rds"], atol=5e-6)
    np.testing.assert_allclose(closeness(pool, targets, "max"), wanted["rds_max"], atol=5e-6)
    found = closeness(pool, targets).numpy()
    order = wanted["rds_order"]
    assert (np.diff(found[order]) < 5e-6).all(), "the golden order, up to the rounding of float32"


def test_random_is_a_draw_without_replacement():
    pool = [f"text {place}" for place in range(40)]
    draws = [choose("random", 0.25, pool_texts=pool, seed=seed).indices for seed in range(300)]
    counts = np.bincount(np.concatenate(draws), minlength=40)
    assert counts.sum() == 300 * 10
    # each example is drawn 75 times of 300 in the mean, with a standard deviation of 7.5
    assert counts.min() > 75 - 5 * 7.5
    assert counts.max() < 75 + 5 * 7.5


def test_full_is_everything_whatever_the_fraction():
    found = choose("full", 0.2)
    assert found.indices == list(range(6))
    assert found.requested == 1


def test_length_takes_the_longest_ties_by_place():
    assert choose("length", lengths=[3, 9, 9, 1, 20, 2]).indices == [4, 1, 2]


def test_perplexity_takes_the_middle():
    losses = torch.tensor([5.0, 1.0, 3.0, 2.0, 4.0, 0.5])
    assert set(choose("perplexity", 0.4, losses=losses).indices) == {3, 2}
    assert choose("perplexity", 0.2, losses=losses, parameters={"centre": 1.0}).indices == [0]


def test_sentence_bert_compares_instructions_where_there_are_some():
    def embed(texts):
        return torch.tensor([[float("sum" in text), float("poem" in text), 0.1] for text in texts])

    pool = ["a poem of the sum", "a sum", "a poem"]
    prompts = ["write a poem", "write a poem", "do a sum"]
    fields = {"pool_texts": pool, "target_texts": ["sum"], "embeddings": embed}
    assert choose("sentence_bert", 0.4, **fields).indices == [1]
    prompted = fields | {"pool_prompts": prompts, "target_prompts": ["the sum of"]}
    assert choose("sentence_bert", 0.4, **prompted).indices == [2]


@pytest.mark.slow
def test_mini_lm_knows_what_words_mean():
    reason = embeddings.why_not()
    if reason:
        pytest.skip(f"mini_lm {reason}")
    texts = ["The cat sleeps on the sofa.", "A kitten is napping on the couch.", "Interest rates rose in May."]
    found = embeddings.mini_lm("cpu")(texts)
    assert found.shape == (3, 384)
    torch.testing.assert_close(torch.linalg.vector_norm(found, dim=1), torch.ones(3))
    assert found[0] @ found[1] > found[0] @ found[2] + 0.3
