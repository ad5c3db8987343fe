"""Stage base.pretrain: the tiny base model, from nothing but generated text, on CPUs.

    dvc repro --force base.pretrain

The base has to be a beginner, so that fine-tuning has something to teach: it stops as soon as it wins the share
`base.stop.success` of development games (never shown, never reported) and gives few invalid actions.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedModel

from encore import configuration, models, tracking
from encore.chat import ChatFormat, chat_format
from encore.environments import load as load_tasks
from encore.errors import UserError
from encore.evaluation import EvaluationSettings, evaluate_panel, summarize
from encore.rollout import TransformersPolicy
from encore.training import SFTSettings, sft
from encore.trajectories import tokenize
from experiments.base.card import write_card
from experiments.base.corpus import CorpusSettings, corpus
from experiments.base.tokenizer import train_tokenizer

PARAMS = ["base"]


@dataclass(frozen=True)
class ModelSettings:
    """Shape of the tiny base."""

    vocabulary: int = 768
    layers: int = 4
    width: int = 192
    heads: int = 6
    context: int = 1024


@dataclass(frozen=True)
class StopSettings:
    """When the base knows enough, measured on games of the unseen development rooms at each checkpoint."""

    success: float = 0.08
    max_success: float = 0.30
    max_invalid: float = 0.25
    games: int = 100
    max_steps: int = 30
    seed: int = 900_001  # of the development games: no panel uses it


@dataclass(frozen=True)
class BaseSettings:
    """The section `base` of params.yaml."""

    seed: int = 0
    threads: int = 2
    model: ModelSettings = field(default_factory=ModelSettings)
    corpus: CorpusSettings = field(default_factory=CorpusSettings)
    training: SFTSettings = field(default_factory=SFTSettings)
    stop: StopSettings = field(default_factory=StopSettings)


class Development:
    """Plays the development games at each checkpoint and says whether the base has learned enough."""

    def __init__(self, settings: StopSettings, chat: ChatFormat, context: int, run: tracking.Run) -> None:
        self.settings = settings
        self.chat = chat
        self.context = context
        self.run = run
        self.tasks = load_tasks("alfworld", {"games": "generated", "size": "small", "seed": settings.seed})
        self.games = self.tasks.panel("unseen", settings.games)

    def play(self, model: PreTrainedModel, temperature: float = 0.0) -> dict[str, float]:
        """Success, invalid actions and stop reasons on the development games."""
        with self.run.costs.aside("evaluate"):
            rows = evaluate_panel(
                TransformersPolicy(model, self.chat),
                self.tasks,
                "development",
                self.games,
                EvaluationSettings(temperature=temperature),
                max_steps=self.settings.max_steps,
                max_length=self.context,
            )
        return summarize(rows)

    def enough(self, step: int, model: PreTrainedModel) -> bool:
        """Callback of `sft`: True ends the training."""
        result = self.play(model)
        self.run.curve({f"development/{key}": value for key, value in result.items() if "/" not in key}, step=step)
        print(f"step {step}: wins {result['success']:.0%}, invalid actions {result['invalid_share']:.0%}", flush=True)
        return result["success"] >= self.settings.success and result["invalid_share"] <= self.settings.max_invalid


def pretrain(settings: BaseSettings, run: tracking.Run) -> None:
    """Corpus, tokenizer, training; writes weights, tokenizer and model card into the run's outs."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    with run.phase("corpus"):
        trajectories = corpus(settings.corpus, settings.seed)
        texts = (text for trajectory in trajectories for text in [*trajectory.observations, *trajectory.actions])
        tokenizer = train_tokenizer(texts, settings.model.vocabulary, settings.model.context)
        chat = chat_format(tokenizer)
        examples = [tokenize(trajectory, chat, settings.model.context) for trajectory in trajectories]
    model = models.tiny_llama(
        len(tokenizer),
        settings.model.layers,
        settings.model.width,
        settings.model.heads,
        settings.model.context,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    development = Development(settings.stop, chat, settings.model.context, run)
    with run.phase("pretrain"):
        model, trained = sft(
            model,
            tokenizer,
            examples,
            settings.training,
            seed=settings.seed,
            checkpoints=run.work / "checkpoints",
            progress=run,
            on_checkpoint=development.enough,
        )
    run.count(tokens_trained=trained.tokens, flops=tracking.flops(model.config, trained.tokens, training=True))
    greedy, sampled = development.play(model), development.play(model, temperature=0.6)
    stop = settings.stop
    beginner = stop.success <= greedy["success"] <= stop.max_success and greedy["invalid_share"] <= stop.max_invalid
    if not beginner:
        raise UserError(
            f"the base wins {greedy['success']:.0%} with {greedy['invalid_share']:.0%} invalid actions after "
            f"{trained.steps} steps and is not what base.stop asks for: change base.training.epochs or base.corpus"
        )
    parameters = sum(weight.numel() for weight in model.parameters())
    model.save_pretrained(run.out)
    tokenizer.save_pretrained(run.out)
    run.result(
        {
            "parameters": parameters,
            "tokens": trained.tokens,
            "steps": trained.steps,
            "loss": trained.final_loss,
            "padding_share": trained.padding_share,
            **{f"development_greedy/{key}": value for key, value in greedy.items()},
            **{f"development_sampled/{key}": value for key, value in sampled.items()},
        }
    )
    write_card(
        Path(run.out) / "README.md", settings, parameters, trained, greedy, sampled, run.costs.totals()["wall_s"]
    )


@tracking.stage_main
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = configuration.read(PARAMS)
    settings = configuration.build(BaseSettings, params["base"], "base")
    with tracking.start(
        out="base/tiny",
        stage="base.pretrain",
        experiment="base",
        group={},
        seed=settings.seed,
        params=params,
        inputs=[],
    ) as run:
        pretrain(settings, run)


if __name__ == "__main__":
    main()
