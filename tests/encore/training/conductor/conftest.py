"""A policy of two layers, prompts of two kinds, and rewards that look at words: small enough to learn in seconds."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch

from encore.chat import chat_format
from encore.models import tiny_llama
from encore.scalarization import scalarizer
from encore.training.conductor import MultiRewardSettings, MultiRewardTrainer, Prompt, multi_reward_rl
from encore.training.conductor.prompts import prompt_order
from encore.training.forward import restore_forward
from experiments.base.tokenizer import train_tokenizer

WORDS = ["red", "blue", "green", "black"]
PROMPTS = [Prompt(f"say {word}", kind, {"wanted": word}) for word in WORDS for kind in ("sure", "free")]


def about_length(prompts, completions, completion_ids, **_):
    return [-float(len(ids)) for ids in completion_ids]


def about_word(prompts, completions, wanted, **_):
    return [float(completion.count(word)) for completion, word in zip(completions, wanted, strict=True)]


def about_entropy(prompts, completions, entropies, **_):
    return [float(of_response.mean()) for of_response in entropies]


REWARDS = {"word": about_word, "length": about_length, "entropy": about_entropy}


class Recorded:
    """Collects what a run would record; phases do not nest."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.checkpoint: str | None = None
        self.counts: dict[str, float] = {}
        self.open: str | None = None

    def curve(self, values, step):
        self.lines.append((step, values))

    def commit(self, checkpoint=None):
        self.checkpoint = checkpoint

    @contextlib.contextmanager
    def phase(self, name):
        assert self.open is None, f"{name} inside {self.open}"
        self.open = name
        yield
        self.open = None

    def count(self, **counts):
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0) + value

    def values(self, name: str) -> list[float]:
        return [line[name] for _, line in self.lines if name in line]


@pytest.fixture(scope="session")
def chat():
    texts = [f"say {word} the end" for word in WORDS] * 20
    return chat_format(train_tokenizer(texts, 280, 256))


@pytest.fixture(scope="session")
def start(chat):
    torch.manual_seed(0)
    special = {"pad_token_id": chat.tokenizer.pad_token_id, "eos_token_id": chat.tokenizer.eos_token_id}
    return tiny_llama(len(chat.tokenizer), layers=2, width=32, heads=4, context=64, **special)


@pytest.fixture
def train(chat, start, tmp_path):
    """Call it with a scalarizer's name and settings: (model, result, what was recorded)."""

    def run(
        name="conductor",
        parameters=None,
        rewards=None,
        progress=None,
        checkpoints=None,
        prompts=None,
        seed=0,
        **changes,
    ):
        progress = progress or Recorded()
        model = copy.deepcopy(start)
        restore_forward(model)
        trained, result = multi_reward_rl(
            model,
            chat,
            PROMPTS if prompts is None else prompts,
            rewards or REWARDS,
            scalarizer(name),
            small(**changes),
            parameters=parameters,
            seed=seed,
            checkpoints=checkpoints or tmp_path / "checkpoints",
            progress=progress,
        )
        return trained, result, progress

    return run


def small(**changes) -> MultiRewardSettings:
    defaults = {
        "steps": 4,
        "prompts_per_step": 4,
        "group_size": 4,
        "device_batch": 8,
        "max_response_tokens": 6,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "warmup_share": 0.0,
        "checkpoint_every": 100,
    }
    return MultiRewardSettings(**{**defaults, **changes})


@pytest.fixture
def weights():
    return lambda model: {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.fixture
def trainer_of(chat, start, tmp_path):
    """Call it for a trainer that has not begun."""

    def make(name="conductor", rewards=None, parameters=None, prompts=None, **changes) -> MultiRewardTrainer:
        model = copy.deepcopy(start)
        restore_forward(model)
        settings = small(**changes)
        prompts = prompts or PROMPTS
        made = MultiRewardTrainer(
            model,
            chat,
            prompts,
            prompt_order(len(prompts), settings, 0),
            rewards or REWARDS,
            scalarizer(name),
            settings,
            parameters=parameters or {},
            seed=0,
            checkpoints=tmp_path / "trainer",
            progress=Recorded(),
        )
        made.model.train()
        made.current_gradient_accumulation_steps = made.args.gradient_accumulation_steps
        return made

    return make


def places_of(trainer: MultiRewardTrainer) -> list[int]:
    """Those of the first step, as TRL's sampler repeats them."""
    first = trainer.train_dataset["place"][: trainer.rl.prompts_per_step]
    return [place for place in first for _ in range(trainer.rl.group_size)]


def gradients(trainer: MultiRewardTrainer) -> dict[str, torch.Tensor]:
    """Of the first step's loss."""
    for batch in trainer._answer(places_of(trainer)):
        trainer._compute_loss(trainer.model, batch).backward()
    return {name: value.grad for name, value in trainer.model.named_parameters()}
