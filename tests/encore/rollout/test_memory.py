"""Out of memory: one line, and the batch size in it fits."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import torch

from encore import rollout
from encore.errors import UserError
from encore.rollout import TransformersPolicy, memory
from encore.rollout.attention import SlotCache

LENGTH = 700


@dataclass
class Step:
    observation: str
    reward: float = 0.0
    done: bool = False
    won: bool = False


class Talk:
    """Fills the context."""

    def reset(self) -> str:
        return "There is a door. " * 5

    admissible = ("go north",)

    def step(self, action: str) -> Step:
        return Step("There is a door. " * 8)


def play(model, chat, rows: int, number: int = 8):
    return rollout.collect(
        TransformersPolicy(model, chat),
        [Talk() for _ in range(number)],
        max_steps=100,
        max_length=LENGTH,
        max_action_tokens=4,
        batch_size=rows,
    )


class Machine:
    """A machine of so many bytes, of which the caches of rollouts take their part; the most that they took at once."""

    def __init__(self, monkeypatch, size: float) -> None:
        self.size, self.most = size, 0
        self.cache: SlotCache | None = None
        grown = SlotCache._grown

        def watched(cache, held, like, columns):
            self.cache = cache
            made = grown(cache, held, like, columns)
            self.most = max(self.most, cache.bytes + made.nbytes)  # the old one is still held
            return made

        monkeypatch.setattr(SlotCache, "_grown", watched)
        monkeypatch.setattr(memory, "free_bytes", self.free)

    def free(self, device) -> float:
        return self.size - (self.cache.bytes if self.cache else 0)


def test_a_rows_bytes_bound_what_the_cache_takes_while_it_grows(model, chat, monkeypatch):
    machine = Machine(monkeypatch, float("inf"))
    episodes = play(model, chat, rows=8)
    assert max(len(rollout.sequences(episode)[0].input_ids) for episode in episodes) > 0.9 * LENGTH
    assert machine.cache.keys[0].shape[2] <= LENGTH
    bound = 8 * memory.row_bytes(model, LENGTH)
    assert 0.8 * bound < machine.most <= bound


@pytest.mark.parametrize("fitting", [1.3, 3.4, 6.0])
def test_the_size_that_is_said_fits(model, chat, monkeypatch, fitting):
    """On a machine where so many rows fit (some memory stays unused), too many end in the line, and its size plays."""
    machine = Machine(monkeypatch, fitting * memory.row_bytes(model, LENGTH))
    with pytest.raises(
        UserError, match=r"out of memory on cpu with 8 episodes .* lower the batch size to \d+$"
    ) as error:
        play(model, chat, rows=8)
    assert "\n" not in str(error.value)
    said = int(re.findall(r"\d+", str(error.value))[-1])
    assert said == int(memory.USABLE * fitting)
    machine.cache = None
    assert len(play(model, chat, rows=said)) == 8


def test_a_machine_too_small_for_one_row_is_said_so(model, chat, monkeypatch):
    Machine(monkeypatch, 0.5 * memory.row_bytes(model, LENGTH))
    with pytest.raises(UserError, match="not one fits, so lower max_length or take a smaller model"):
        play(model, chat, rows=4)


def gpu_full(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of …")


def cpu_full(*_):
    torch.empty(10**15)  # the allocator's own words, whatever this version of Torch makes them


@pytest.mark.parametrize("failure", [gpu_full, cpu_full])
@pytest.mark.parametrize("place", ["cache", "forward"])
def test_an_allocators_failure_is_one_line(model, chat, monkeypatch, failure, place):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 3.5 * memory.row_bytes(model, LENGTH))
    before = model.config._attn_implementation
    handle = None
    if place == "cache":
        monkeypatch.setattr(SlotCache, "_grown", failure)
    else:
        handle = model.model.layers[1].register_forward_pre_hook(failure)
    try:
        with pytest.raises(UserError, match=r"with 8 episodes .* lower the batch size to 3$") as error:
            play(model, chat, rows=8)
    finally:
        if handle is not None:
            handle.remove()
    assert "\n" not in str(error.value)
    assert model.config._attn_implementation == before


def test_where_the_rows_are_not_what_is_too_large_half_of_them_is_advised(model, chat, monkeypatch):
    monkeypatch.setattr(SlotCache, "_grown", gpu_full)
    for free in (1e12, None):
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        with pytest.raises(UserError, match=r"lower the batch size to 4$"):
            play(model, chat, rows=8)


def test_another_failure_is_not_taken_for_it(model, chat, monkeypatch):
    def defect(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(SlotCache, "_grown", defect)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        play(model, chat, rows=2)


def test_free_memory_of_this_machine_is_a_number():
    free = memory.free_bytes(torch.device("cpu"))
    assert 2**20 < free < 2**50
    assert memory.free_bytes(torch.device("meta")) is None


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    without = memory.free_bytes(torch.device("cpu"))
    files = {"memory.max": "3000000\n", "memory.current": "2500000\n", "memory.stat": "anon 1\ninactive_file 1000\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert memory.free_bytes(torch.device("cpu")) == 501_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(torch.device("cpu")) > without / 2
