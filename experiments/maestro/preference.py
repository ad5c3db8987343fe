"""Stage maestro.preference: a linear head on the start policy's hidden states, trained on preference pairs.

Bradley and Terry (1952): the log-odds that one response is preferred to another are the difference of their scores. The
head is saved as a model for sequence classification, the form in which reward models such as Skywork-Reward are
published, so that the reward reads both alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from encore import configuration, tracking
from encore.benchmarks import read_items
from encore.policy import PolicySettings
from experiments.maestro.pairs import SPOILS, Pair, make_pairs
from experiments.maestro.settings import RUNS, settings
from experiments.options import arguments

PARAMS = ["profile", "tracking", "policy", "maestro.preference"]
SEED = 0


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "benchmark")
    params = configuration.read(PARAMS)
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    preference = settings().preference
    start, data = RUNS / "start" / options.benchmark, RUNS / "data" / options.benchmark
    with tracking.start(
        out=RUNS / "preference" / options.benchmark,
        stage="maestro.preference",
        experiment="maestro",
        seed=SEED,
        params=params,
        inputs=[start, data, *policy.files()],
    ) as run:
        run.tag({"environment": options.benchmark})
        if preference.source:
            run.result({"pairs": 0})
            return
        items = read_items(data / "validation.jsonl") or read_items(data / "train.jsonl")
        # Rows of held-out pairs are in no pair of the training.
        kept = max(2, round(len(items) * preference.held_out / preference.pairs))
        learned = make_pairs(items[kept:], preference.pairs - preference.held_out, SEED)
        tested = make_pairs(items[:kept], preference.held_out, SEED)
        run.dataset(f"{options.benchmark}-pairs", [vars(pair) for pair in learned], source=str(data))
        run.result(_train(run, policy, options.benchmark, learned, tested, preference.penalty))


def _train(
    run: tracking.Run,
    policy: PolicySettings,
    benchmark: str,
    learned: Sequence[Pair],
    tested: Sequence[Pair],
    penalty: float,
) -> dict[str, float | dict[str, float]]:
    import torch
    from transformers import AutoModelForSequenceClassification

    from experiments.maestro import policies
    from experiments.maestro.rewarding import last_states

    model, tokenizer, chat = policies.load(policy, RUNS / "start" / benchmark)
    with run.phase("probe"):
        features = {
            name: torch.stack(
                [
                    last_states(model, chat, [(pair.prompt, getattr(pair, side)) for pair in pairs], policy.max_length)
                    for side in ("chosen", "rejected")
                ],
                dim=1,
            )
            for name, pairs in (("learned", learned), ("tested", tested))
        }
    differences = features["learned"][:, 0] - features["learned"][:, 1]
    head = torch.zeros(differences.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([head], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -torch.nn.functional.logsigmoid(differences @ head).mean() + penalty * head.square().sum()
        loss.backward()
        return loss

    with run.phase("preference"):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    margins = (features["tested"][:, 0] - features["tested"][:, 1]) @ head.detach()
    right = (margins > 0).float()
    made = AutoModelForSequenceClassification.from_pretrained(
        policies.source_of(RUNS / "start" / benchmark), num_labels=1
    )
    with torch.no_grad():
        made.score.weight.copy_(head[None])
    made.config.pad_token_id = tokenizer.pad_token_id
    made.save_pretrained(run.out / "model")
    tokenizer.save_pretrained(run.out / "model")
    kinds = {name: [place for place, pair in enumerate(tested) if pair.spoiled == name] for name in SPOILS}
    learned_right = (differences @ head.detach() > 0).float().mean()
    return {
        "pairs": len(learned),
        "held_out": len(tested),
        "accuracy": float(right.mean()),
        "accuracy_training": float(learned_right),
        "by_kind": {name: float(right[places].mean()) for name, places in kinds.items() if places},
    }


if __name__ == "__main__":
    main()
