"""Episodes as device batches: masks and advantages where they belong, nothing lost, padding low."""

from __future__ import annotations

import random

import pytest
import torch

from encore.rollout import Episode, Turn
from encore.training.agents import batches


def made() -> Episode:
    return Episode(
        observations=["a", "b", "c"],
        actions=["x", "y"],
        rewards=[0.0, 1.0],
        turns=[
            Turn([10, 11, 12], [20, 21], [-0.1, -0.2], admissible=True),
            Turn([13], [22, 21], [-0.3, -0.4], admissible=True),
        ],
        anchors=["a", "b"],
    )


def test_rows_carry_each_turns_advantage_on_its_own_tokens():
    (row,) = batches.rows_of(made(), torch.tensor([0.5, -2.0]))
    assert row.input_ids == [10, 11, 12, 20, 21, 13, 22, 21]
    assert row.response_mask == [0, 0, 0, 1, 1, 0, 1, 1]
    assert row.advantages == [0, 0, 0, 0.5, 0.5, 0, -2.0, -2.0]
    assert row.logprobs == pytest.approx([0, 0, 0, -0.1, -0.2, 0, -0.3, -0.4])


def test_tensors_mask_what_the_environment_said_and_padding():
    row = batches.rows_of(made(), torch.tensor([0.5, -2.0]))[0]
    short = batches.Row(row.input_ids[:5], row.response_mask[:5], row.logprobs[:5], row.advantages[:5])
    found = batches.tensors([row, short], pad_id=0, device=torch.device("cpu"))
    assert found["prompt_ids"].tolist() == [[10], [10]]
    assert found["completion_mask"].tolist() == [[1] * 7, [1] * 4 + [0] * 3]
    assert found["tool_mask"].tolist() == [[0, 0, 1, 1, 0, 1, 1], [0, 0, 1, 1, 0, 0, 0]]
    assert found["advantages"][1].tolist() == pytest.approx([0, 0, 0.5, 0.5, 0, 0, 0])
    counted = found["completion_mask"] * found["tool_mask"]
    assert int(counted.sum()) == row.response_tokens + short.response_tokens


def test_no_rows_make_a_batch_that_counts_for_nothing():
    found = batches.tensors([], pad_id=0, device=torch.device("cpu"))
    assert found["completion_ids"].shape == (1, 1)
    assert int((found["completion_mask"] * found["tool_mask"]).sum()) == 0


@pytest.mark.parametrize("number", [1, 3, 7, 200])
def test_micro_batches_lose_nothing_and_pad_little(number):
    generator = random.Random(number)
    lengths = [generator.randint(20, 700) for _ in range(128)]
    rows = [
        batches.Row([index] * length, [1] * length, [0.0] * length, [1.0] * length)
        for index, length in enumerate(lengths)
    ]
    dealt = batches.micro_batches(rows, number)
    assert len(dealt) == number
    assert sorted(row.input_ids[0] for batch in dealt for row in batch) == list(range(128))
    computed = [len(batch) * max(map(len, batch), default=0) for batch in dealt]
    if number in (3, 7):
        assert sum(computed) < 1.35 * sum(lengths)
        assert max(computed) < 1.6 * sum(computed) / number, "no device step does most of the work"


def test_episodes_weigh_alike_when_averaged_by_episode():
    long = batches.Row([1] * 40, [1] * 40, [0.0] * 40, [1.0] * 40)
    short = batches.Row([1] * 10, [1] * 10, [0.0] * 10, [-1.0] * 10)
    scaled = batches.averaged_by_episode([[long], [short], []])
    sums = [sum(sum(row.advantages) for row in rows) for rows in scaled]
    assert sums == pytest.approx([25.0, -25.0, 0.0])
