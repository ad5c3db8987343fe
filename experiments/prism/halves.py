"""The two halves of a training in one run: SFT, then RL from where SFT ended, each resumed where it was cut.

A run commits one checkpoint at a time by name. Of the first half it is `sft/…`, of the second `rl/…`, and between them
stands `start`: the policy that SFT made, which RL starts from and is held to by its KL term.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from encore import models, ranks, tracking
from encore.chat import chat_format
from encore.environments import Tasks
from encore.policy import PolicySettings
from encore.training import SFTSettings, sft
from encore.training.agents import AgentRLSettings, agent_rl
from encore.training.whole import will_shard
from encore.trajectories import Example, Trajectory, tokenize

START = "start"


class Half:
    """Progress of one half: its curves, costs and checkpoints go to the run, the checkpoints in a folder of its own."""

    def __init__(self, run: tracking.Run, name: str) -> None:
        self.run, self.name = run, name
        self.checkpoints = run.checkpoints / name

    @property
    def checkpoint(self) -> str | None:
        """What this half has to resume from; None if the run was cut in the other half, or not at all."""
        half, _, saved = (self.run.checkpoint or "").partition("/")
        return saved if half == self.name and saved else None

    def curve(self, values: Mapping[str, float], step: int) -> None:
        self.run.curve(values, step=step)

    def commit(self, checkpoint: str | None = None) -> None:
        self.run.commit(None if checkpoint is None else f"{self.name}/{checkpoint}")

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self.run.phase(name)

    def count(self, **counters: float) -> None:
        """Adds this process's counts and, if there are several, those of the others, who call it with theirs."""
        self.run.count(**ranks.summed(counters))


@dataclass(frozen=True)
class Loaded:
    """A policy in memory."""

    model: PreTrainedModel
    tokenizer: Tokenizer


def base(policy: PolicySettings) -> Loaded:
    """The policy that nothing was done to."""
    return _load(policy)


def _load(policy: PolicySettings, source: Path | None = None) -> Loaded:
    """The policy of `source`; where weights are to be sharded on the CPU, from which each process takes its part."""
    if will_shard():
        policy = dataclasses.replace(policy, device="cpu")
    return Loaded(*models.load(policy, source))


def imitate(
    run: tracking.Run,
    policy: PolicySettings,
    trajectories: Sequence[Trajectory],
    settings: SFTSettings,
    seed: int,
) -> Loaded:
    """The base after SFT on `trajectories`; if an earlier session of this run has finished that, its result."""
    start = run.checkpoints / START
    if run.checkpoint != START and not (run.checkpoint or "").startswith("rl/"):
        half = Half(run, "sft")
        torch.manual_seed(seed)
        loaded = _load(policy)
        model, tokenizer = loaded.model, loaded.tokenizer
        chat = chat_format(tokenizer)
        examples = [tokenize(trajectory, chat, policy.max_length) for trajectory in trajectories]
        with half.phase("sft"):
            trained, result = sft(
                model, tokenizer, examples, settings, seed=seed, checkpoints=half.checkpoints, progress=half
            )
        run.count(tokens_trained=result.tokens)  # of all processes
        run.result(
            {
                "examples": len(examples),
                "steps": result.steps,
                "tokens": result.tokens,
                "response_tokens": result.response_tokens,
                "padding_share": result.padding_share,
                "loss": result.final_loss,
            }
        )
        if ranks.is_first():
            trained.save_pretrained(start)
            tokenizer.save_pretrained(start)
            run.commit(START)
            shutil.rmtree(half.checkpoints, ignore_errors=True)
        ranks.wait()
        del loaded, model, trained  # their memory, before the next model is loaded
    # From the folder also in the session that made it, so that a resumed run cannot differ.
    return _load(policy, start)


def explore(
    run: tracking.Run,
    start: Loaded,
    tasks: Tasks,
    chosen: Sequence[Any],
    settings: AgentRLSettings,
    *,
    max_steps: int,
    max_length: int,
    seed: int,
    demonstration: Callable[[Any], Trajectory] | None = None,
) -> Loaded:
    """`start` after RL on episodes of the tasks `chosen`, an episode of at most `max_steps` actions.

    `demonstration` gives the expert's episode of a task to HPT, which imitates in its RL; other algorithms do without.
    """
    half = Half(run, "rl")
    chat = chat_format(start.tokenizer)

    def example(task: Any) -> Example:
        assert demonstration is not None
        return tokenize(demonstration(task), chat, max_length)

    torch.manual_seed(seed)
    trained, result = agent_rl(
        start.model,
        chat,
        chosen,
        tasks.environment,
        settings,
        max_steps=max_steps,
        max_length=max_length,
        seed=seed,
        checkpoints=half.checkpoints,
        progress=half,
        demonstration=None if demonstration is None else example,
    )
    run.result({"rl": {"tasks": len(chosen), **dataclasses.asdict(result)}})
    return Loaded(trained, start.tokenizer)


def save(run: tracking.Run, trained: Loaded) -> Path:
    """Writes the trained policy into the run's output, counts its FLOPs, and returns the folder where it will lie."""
    trained.model.save_pretrained(run.out / "model")
    trained.tokenizer.save_pretrained(run.out / "model")
    counted = run.costs.totals()
    run.count(
        flops=tracking.flops(trained.model.config, counted["tokens_trained"], training=True)
        + tracking.flops(trained.model.config, counted["tokens_generated"], training=False)
    )
    return run.final / "model"
