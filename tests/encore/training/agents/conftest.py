"""A world small enough to learn in seconds: it wants a colour in each turn, always the same ones."""

from __future__ import annotations

import contextlib
import copy
import random
from dataclasses import dataclass

import pytest
import torch

from encore.chat import chat_format
from encore.models import tiny_llama
from encore.training import SFTSettings, sft
from encore.training.agents import AgentRLSettings, agent_rl
from encore.training.forward import restore_forward
from encore.trajectories import Example
from experiments.base.tokenizer import train_tokenizer

COLOURS = ["red", "blue", "green", "black"]


@dataclass
class Step:
    observation: str
    reward: float
    done: bool
    won: bool


class Secret:
    """Wants red, then blue, without saying so; pays half for each. What is no colour is not admissible."""

    def __init__(self, task: int) -> None:
        self.task = task
        self.wanted = ["red", "blue"]

    def reset(self) -> str:
        self.turn, self.right = 0, True
        return f"say {COLOURS[self.task % 4]}"

    @property
    def admissible(self) -> list[str]:
        return sorted(COLOURS)

    def step(self, action: str) -> Step:
        right = action == self.wanted[self.turn]
        self.right &= right
        self.turn += 1
        done = self.turn == len(self.wanted)
        return Step("the end" if done else "say black", 0.5 * right, done, done and self.right)


class Recorded:
    """Collects what a run would record."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.checkpoint: str | None = None
        self.counts: dict[str, float] = {}

    def curve(self, values, step):
        self.lines.append((step, values))

    def commit(self, checkpoint=None):
        self.checkpoint = checkpoint

    @contextlib.contextmanager
    def phase(self, name):
        yield

    def count(self, **counts):
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0) + value

    def values(self, name: str) -> list[float]:
        return [line[name] for _, line in self.lines if name in line]


@pytest.fixture(scope="session")
def chat():
    texts = [f"say {colour} the end" for colour in COLOURS] * 20
    return chat_format(train_tokenizer(texts, 300, 256))


@pytest.fixture(scope="session")
def start(chat, tmp_path_factory):
    """A policy that answers with a colour, but any colour."""
    torch.manual_seed(0)
    special = {"pad_token_id": chat.tokenizer.pad_token_id, "eos_token_id": chat.tokenizer.eos_token_id}
    model = tiny_llama(len(chat.tokenizer), layers=1, width=48, heads=4, context=256, **special)
    generator, examples = random.Random(1), []
    for number in range(400):
        ids, mask = [], []
        for turn in range(2):
            observation = f"say {generator.choice(COLOURS)}"
            prompt = chat.first(observation) if turn == 0 else chat.next(observation)
            response = chat.action(generator.choice(COLOURS))
            ids += prompt + response
            mask += [0] * len(prompt) + [1] * len(response)
        examples.append(Example(str(number), ids, mask))
    chosen = SFTSettings(epochs=6, learning_rate=5e-3, effective_batch=16, max_padding_share=0.9)
    folder = tmp_path_factory.mktemp("start")
    model = sft(model, chat.tokenizer, examples, chosen, seed=0, checkpoints=folder, progress=Recorded())[0]
    restore_forward(model)
    return model


@pytest.fixture
def train(chat, start, tmp_path):
    """Call it with settings to train a copy of the start: (model, result, what was recorded)."""

    def run(progress=None, checkpoints=None, outcome=None, seed=0, environment=Secret, model=None, **changes):
        defaults = {
            "iterations": 3,
            "tasks_per_iteration": 4,
            "group_size": 8,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup_share": 0.0,
            "max_action_tokens": 6,
            "checkpoint_every": 100,
        }
        progress = progress or Recorded()
        trained, result = agent_rl(
            model or copy.deepcopy(start),
            chat,
            range(64),
            environment,
            AgentRLSettings(**{**defaults, **changes}),
            max_steps=4,
            max_length=200,
            seed=seed,
            checkpoints=checkpoints or tmp_path / "checkpoints",
            progress=progress,
            outcome=outcome,
        )
        return trained, result, progress

    return run


@pytest.fixture
def weights():
    return lambda model: {name: value.detach().clone() for name, value in model.state_dict().items()}
