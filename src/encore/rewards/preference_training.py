"""A reward model from preference pairs: a linear head on a frozen backbone's last hidden state, by Bradley-Terry.

P(chosen over rejected) = sigmoid(r(chosen) - r(rejected)) with r(x) = w . h(x). The negative log-likelihood with an L2
penalty is convex in w, so the head is its one minimum, the same on every run; what takes time are the hidden states,
which are kept in the folder `work` as they are computed. Source: Bradley and Terry (1952); as a loss of reward models,
Ouyang et al. (arXiv 2203.02155, equation 1), without the number of pairs a prompt.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from encore import models, statistics
from encore.errors import UserError
from encore.policy import PolicySettings
from encore.rewards.reward_model import RewardModel
from encore.tracking import files

CHUNK = 256  # sequences whose states are kept together
REPORT = "preference.json"


@dataclass(frozen=True)
class PreferencePair:
    """Two responses to a prompt; someone preferred the first."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class PreferenceTrainingSettings:
    """`penalties` are weights of the L2 term on states scaled to unit variance; the one with the least loss on a fifth
    of the training prompts is taken, and the head fitted anew on all of them. `held_out_share` of the prompts are kept
    for the accuracy that is reported, and are seen by neither.
    """

    held_out_share: float = 0.2
    penalties: list[float] = field(default_factory=lambda: [0.001, 0.01, 0.1, 1.0])
    max_batch_tokens: int = 8192

    def __post_init__(self) -> None:
        if not 0 < self.held_out_share < 1:
            raise UserError(f"preference.held_out_share is {self.held_out_share}: it must be between 0 and 1")
        if not self.penalties or min(self.penalties) <= 0:
            raise UserError("preference.penalties must be positive, and at least one")
        if self.max_batch_tokens < 1:
            raise UserError(f"preference.max_batch_tokens is {self.max_batch_tokens}: it must be at least 1")


@dataclass(frozen=True)
class PreferenceReport:
    """`accuracy`: share of held-out pairs whose chosen response gets more, a tie counts half; `low` and `high`: its
    95 % Wilson interval, over pairs (too narrow where many share a prompt). Losses are nats a pair. `margins` are
    r(chosen) - r(rejected) of the held-out pairs, in their order; they are not in preference.json.
    """

    accuracy: float
    low: float
    high: float
    held_out_pairs: int
    held_out_loss: float
    train_pairs: int
    train_accuracy: float
    train_loss: float
    penalty: float
    margins: tuple[float, ...] = field(repr=False)


def train_preference_model(
    policy: PolicySettings,
    pairs: Sequence[PreferencePair],
    settings: PreferenceTrainingSettings,
    *,
    seed: int,
    out: Path,
    work: Path,
    source: str | Path | None = None,
    tested: Sequence[PreferencePair] = (),
) -> PreferenceReport:
    """Fits the head on `policy`'s weights and writes the reward model, backbone included, to the folder `out`.

    `source` stands for the policy's own, as in `encore.models.load`. `tested` are pairs to hold out; without any, a
    share of the prompts of `pairs` is. The reward `preference` reads `out`, and so does transformers'
    AutoModelForSequenceClassification. The same inputs and seed give the same head. A run that was cut goes on with the
    states in `work`, and ends where the uncut run would have. `out` is written last, whole, with the report in
    preference.json.

    Raises UserError for a pair of equal responses, a pair that the backbone's context cannot hold, fewer than five
    prompts, a prompt on both sides, or a backbone without a sequence classifier.
    """
    for place, pair in enumerate([*pairs, *tested]):
        if pair.chosen == pair.rejected:
            raise UserError(f"preference pair {place} has two equal responses: take it out")
    if tested:
        shared = {pair.prompt for pair in pairs} & {pair.prompt for pair in tested}
        if shared:
            raise UserError(
                f"{len(shared)} prompts are trained on and held out, as '{min(shared)[:60]}': take them out"
            )
        train, held_out = list(range(len(pairs))), list(range(len(pairs), len(pairs) + len(tested)))
        pairs = [*pairs, *tested]
    else:
        train, held_out = _split(pairs, settings.held_out_share, seed)
    inner, development = _split([pairs[place] for place in train], 0.2, seed + 1)
    reward_model = RewardModel.untrained(*models.load(policy, source))
    chosen, rejected = _all_states(reward_model, pairs, settings.max_batch_tokens, work)
    scale = torch.cat([chosen[train], rejected[train]]).std(0, correction=0)
    scale = torch.where(scale > 1e-6 * scale.max(), scale, torch.inf)  # a unit that never moves says nothing
    differences = (chosen - rejected) / scale
    within = differences[train]
    losses = [
        (_loss(within[development], fit(within[inner], penalty)), penalty) for penalty in sorted(settings.penalties)
    ]
    penalty = min(losses)[1]
    head = fit(within, penalty)
    margins = differences[held_out] @ head
    right = _right(margins)
    interval = statistics.wilson(right, len(held_out))
    report = PreferenceReport(
        accuracy=right / len(held_out),
        low=interval.low,
        high=interval.high,
        held_out_pairs=len(held_out),
        held_out_loss=_loss(differences[held_out], head),
        train_pairs=len(train),
        train_accuracy=_right(within @ head) / len(train),
        train_loss=_loss(within, head),
        penalty=penalty,
        margins=tuple(margins.tolist()),
    )
    reward_model.set_head(head / scale)
    staged = work / "finished"
    files.remove(staged)
    reward_model.save(staged)
    shown = asdict(report) | {"seed": seed, "backbone": str(source or policy.source)}
    del shown["margins"]
    files.write_json(staged / REPORT, shown)
    files.publish(staged, out)
    return report


def fit(differences: Float[Tensor, "pairs width"], penalty: float) -> Float[Tensor, " width"]:
    """w that minimises mean softplus(-d . w) + penalty / 2 |w|^2, float64, by L-BFGS from 0.

    Raises AssertionError if it has not converged.
    """
    head = torch.zeros(differences.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([head], max_iter=2000, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.softplus(-differences @ head).mean() + penalty / 2 * head.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    closure()
    assert head.grad is not None
    if float(head.grad.abs().max()) > 1e-4:
        raise AssertionError(f"the head has not converged: its gradient is {float(head.grad.abs().max()):.1e}")
    return head.detach()


def _split(pairs: Sequence[PreferencePair], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places of the pairs to train on and of those held out, all pairs of a prompt on one side."""
    prompts = sorted({pair.prompt for pair in pairs})
    if len(prompts) < 5:
        raise UserError(
            f"preference pairs of {len(prompts)} prompts are too few to train on some and hold others out: give more"
        )
    random.Random(seed).shuffle(prompts)
    away = set(prompts[: max(1, round(share * len(prompts)))])
    places = range(len(pairs))
    return [place for place in places if pairs[place].prompt not in away], [
        place for place in places if pairs[place].prompt in away
    ]


def _all_states(
    reward_model: RewardModel, pairs: Sequence[PreferencePair], max_batch_tokens: int, work: Path
) -> tuple[Float[Tensor, "pairs width"], Float[Tensor, "pairs width"]]:
    """States of the chosen and of the rejected responses, float64; from the folder `work` where they are there."""
    encoded = [reward_model.encode(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    limit = getattr(reward_model.model.config, "max_position_embeddings", None)
    for place, tokens in enumerate(encoded):
        if limit is not None and len(tokens) > limit:
            raise UserError(
                f"preference pair {place // 2} has {len(tokens)} tokens, more than the backbone's {limit}: take it out"
            )
    folder = work / f"states-{_fingerprint(reward_model, encoded)[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in range(0, len(encoded), CHUNK):
        path = folder / f"{start:08d}.pt"
        if not path.exists():
            found = reward_model.states(encoded[start : start + CHUNK], max_batch_tokens=max_batch_tokens)
            temporary = path.with_suffix(".part")
            torch.save(found, temporary)
            temporary.replace(path)
        chunks.append(torch.load(path, weights_only=True))
    states = torch.cat(chunks).double()
    if not bool(torch.isfinite(states).all()):
        raise UserError("the backbone gives hidden states that are not finite: use another, or dtype float32")
    return states[::2], states[1::2]


def _fingerprint(reward_model: RewardModel, encoded: Sequence[tuple[int, ...]]) -> str:
    """Of the tokens and the weights: states of other ones are never taken up."""
    weights = [
        (name, list(value.shape), str(value.dtype), float(value.double().sum()), float(value.double().abs().sum()))
        for name, value in reward_model.model.base_model.state_dict().items()
    ]
    return hashlib.sha256(json.dumps([weights, encoded]).encode()).hexdigest()


def _loss(differences: Float[Tensor, "pairs width"], head: Float[Tensor, " width"]) -> float:
    return float(torch.nn.functional.softplus(-differences @ head).mean())


def _right(margins: Float[Tensor, " pairs"]) -> float:
    return float((margins > 0).sum() + 0.5 * (margins == 0).sum())
