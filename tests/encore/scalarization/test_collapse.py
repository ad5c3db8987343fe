"""What the normalisation of rewards does to the Conductor: a warning of the reconstruction, as a toy.

The meta-reward compares responses that different rewards scored, so it pays for whichever reward runs high. Five
rewards without any meaning: four are spread evenly, the format is satisfied by 95 % of responses and therefore runs
high while it is raw. A Conductor without context then puts its weight there. Under group ranks every reward has the
same mean in every group. What is left is second order: a response that misses the format widens its own group's
deviation, which makes its loss look smaller than the others' gain.
"""

from __future__ import annotations

import torch

from encore.scalarization import Batch, Context, Scalarizer, group_advantages, normalized, scalarizer, scores

REWARDS = ("perplexity", "format", "entropy", "length", "preference")
FORMAT = REWARDS.index("format")
GROUP, GROUPS, UPDATES = 8, 16, 150
RAW = ["raw" if name == "format" else "rank" for name in REWARDS]
RANKS = ["rank"] * len(REWARDS)


def started(seed: int) -> Scalarizer:
    # AdamW makes steps of about this size, whatever the gradient's; weight and bias move alike, so a logit by twice it.
    made = scalarizer("conductor")
    made.start(Context(REWARDS, 1, seed, {"learning_rate": 0.01, "update_every": 1}))
    return made


def step(made: Scalarizer, how: list[str], generator: torch.Generator, groups: int) -> tuple[torch.Tensor, Batch]:
    """Weighs meaningless rewards; returns the advantages that the actions led to."""
    number = GROUP * groups
    raw = torch.rand(number, len(REWARDS), generator=generator)
    raw[:, FORMAT] = (raw[:, FORMAT] < 0.95).float()
    valid = torch.ones(number, dtype=torch.bool)
    seen = Batch(raw, valid, ["any"] * number, GROUP, torch.ones(number, 1))
    weighing = made.weigh(seen)
    advantages = group_advantages(scores(normalized(raw, valid, GROUP, how), weighing.weights), valid, GROUP)
    made.observe(seen, weighing, advantages)
    assert weighing.actions is not None
    return advantages[weighing.actions == FORMAT], seen


def test_the_pull_of_a_saturated_reward_is_there_raw_and_gone_under_ranks():
    """The mean advantage of choosing the format while all are equally likely; above 0.7 raw, below 0.05 under ranks."""
    pull = {}
    for name, how in (("raw", RAW), ("ranks", RANKS)):
        pull[name] = float(step(started(0), how, torch.Generator().manual_seed(0), groups=2000)[0].mean())
    assert pull["raw"] > 0.7
    assert abs(pull["ranks"]) < 0.05


def test_weights_collapse_on_a_saturated_raw_reward_and_not_under_ranks():
    """Thresholds: more than 0.9 of the weight on the format raw, for each seed; less than 0.4 under ranks in the mean
    over seeds, where equal weights would be 0.2 and noise alone moves a single run by about 0.1."""
    found: dict[str, list[float]] = {"raw": [], "ranks": []}
    for name, how in (("raw", RAW), ("ranks", RANKS)):
        for seed in range(3):
            made, generator = started(seed), torch.Generator().manual_seed(seed)
            for _ in range(UPDATES):
                step(made, how, generator, GROUPS)
                made.step()
            found[name].append(float(made.weigh(step(made, how, generator, 1)[1]).reading[0, FORMAT]))
    assert min(found["raw"]) > 0.9
    assert sum(found["ranks"]) / 3 < 0.4
