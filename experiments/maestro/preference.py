"""Stage maestro.preference: a linear head on the start policy's hidden states, trained on preference pairs.

With `maestro.preference.source` nothing is trained: the reward reads that reward model.
"""

from __future__ import annotations

import dataclasses

from encore import configuration, tracking
from encore.benchmarks import read_items
from encore.policy import PolicySettings
from experiments import warm
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
            run.result({"train_pairs": 0})
            return
        from encore.rewards.preference_training import PreferenceTrainingSettings, train_preference_model
        from experiments.maestro.pairs import SPOILS, make_pairs
        from experiments.maestro.policies import source_of

        items = read_items(data / "validation.jsonl") or read_items(data / "train.jsonl")
        # No row of a held-out pair is in a pair of the training.
        kept = max(2, round(len(items) * preference.held_out / preference.pairs))
        learned = make_pairs(items[kept:], preference.pairs - preference.held_out, SEED)
        tested = make_pairs(items[:kept], preference.held_out, SEED)
        rows = [dataclasses.asdict(pair.pair) for pair in learned]
        run.dataset(f"{options.benchmark}-pairs", rows, source=str(data))
        with run.phase("preference"):
            report = train_preference_model(
                policy,
                [one.pair for one in learned],
                PreferenceTrainingSettings(),
                seed=SEED,
                out=run.out / "model",
                work=run.checkpoints,
                source=source_of(start),
                tested=[one.pair for one in tested],
            )
        found = dataclasses.asdict(report)
        margins = found.pop("margins")
        by_kind = {
            name: [margin > 0 for margin, one in zip(margins, tested, strict=True) if one.spoiled == name]
            for name in SPOILS
        }
        run.result({**found, "by_kind": {name: sum(right) / len(right) for name, right in by_kind.items() if right}})


if __name__ == "__main__":
    warm.delegate("experiments.maestro.preference")
    main()
