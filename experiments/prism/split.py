"""Stage prism.split: which demonstrations one method, under one seed, sends to SFT and which to RL."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from encore import arbitration, configuration, tracking
from encore.errors import UserError
from experiments.options import arguments
from experiments.prism.settings import RUNS, cell, group

PARAMS = ["profile", "tracking", "prism.rl_fraction"]
FROM_PROBE = ("norms", "losses", "lengths", "responses", "turns", "task_types")


def columns(probe: Path, pass_rates: Path) -> dict[str, Callable[[], Any]]:
    """What an arm may ask for, one row an example, read from the two files on first use.

    `matrix_sizes` [examples, matrices] are numbers of entries, the same for every example; `pass_rates` [examples] are
    shares of rollouts won, and not there if there were no rollouts. Raises UserError if the files' examples differ.
    """
    from_probe, from_rollouts = np.load(probe), np.load(pass_rates)
    ids = from_probe["ids"]
    if ids.tolist() != from_rollouts["ids"].tolist():
        raise UserError(f"{probe} and {pass_rates} are of other demonstrations: run `dvc repro` again")
    found: dict[str, Callable[[], Any]] = {name: partial(from_probe.__getitem__, name) for name in FROM_PROBE}
    sizes = from_probe["matrix_sizes"]
    found["matrix_sizes"] = lambda: np.broadcast_to(sizes, (len(ids), len(sizes)))
    won = from_rollouts["won"]
    if won.shape[1]:
        found["pass_rates"] = lambda: won.mean(1)
    return found


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment", "method", "seed")
    params = configuration.read(PARAMS)
    arm = arbitration.arm(options.method)
    source = RUNS / "probe" / options.environment / "probe.npz"
    pass_rates = RUNS / "pass_rates" / options.environment / "pass_rates.npz"
    with tracking.start(
        out=cell("split", options.environment, options.method, options.seed),
        stage="prism.split",
        experiment="prism",
        group=group(params["profile"], options.environment, options.method),
        seed=options.seed,
        params=params,
        inputs=[source, pass_rates],
    ) as run:
        probe = np.load(source)
        ids, types = probe["ids"], probe["task_types"]
        context = arbitration.Context(
            n=len(ids),
            seed=options.seed,
            rl_fraction=params["prism"]["rl_fraction"],
            columns=columns(source, pass_rates),
        )
        reason = arm.skip(context)
        if reason:
            raise UserError(
                f"arm '{options.method}' cannot run on {options.environment}: {reason}; take it out of prism.methods"
            )
        split = arm.split(context)
        if arm.fraction(context.rl_fraction) > 0 and not split.rl:
            raise UserError(
                f"arm '{options.method}' sends none of the {len(ids)} demonstrations of {options.environment} to RL: "
                f"it would be SFT by another name; raise {options.environment}.demonstrations, or take it out of "
                "prism.methods"
            )
        routes = {"sft": [str(ids[index]) for index in split.sft], "rl": [str(ids[index]) for index in split.rl]}
        (run.out / "split.json").write_text(json.dumps(routes, indent=0))
        run.result(
            {
                "sft": len(split.sft),
                "rl": len(split.rl),
                **{
                    f"rl_share/{name}": float(np.isin(np.flatnonzero(types == name), split.rl).mean())
                    for name in sorted(set(types.tolist()))
                },
            }
        )


if __name__ == "__main__":
    main()
