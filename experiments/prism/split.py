"""Stage prism.split: which demonstrations one method, under one seed, sends to SFT and which to RL."""

from __future__ import annotations

import json
from functools import partial

import numpy as np

from encore import arbitration, configuration, tracking
from encore.errors import UserError
from experiments.options import arguments
from experiments.prism.settings import RUNS, cell, group

PARAMS = ["profile", "tracking", "prism.rl_fraction"]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment", "method", "seed")
    params = configuration.read(PARAMS)
    arm = arbitration.arm(options.method)
    source = RUNS / "probe" / options.environment / "probe.npz"
    with tracking.start(
        out=cell("split", options.environment, options.method, options.seed),
        stage="prism.split",
        experiment="prism",
        group=group(params["profile"], options.environment, options.method),
        seed=options.seed,
        params=params,
        inputs=[source],
    ) as run:
        probe = np.load(source)
        context = arbitration.Context(
            n=len(probe["ids"]),
            seed=options.seed,
            rl_fraction=params["prism"]["rl_fraction"],
            columns={name: partial(probe.__getitem__, name) for name in ("norms", "losses", "lengths", "task_types")},
        )
        reason = arm.skip(context)
        if reason:
            raise UserError(
                f"arm '{options.method}' cannot run on {options.environment}: {reason}; take it out of prism.methods"
            )
        split = arm.split(context)
        ids, types = probe["ids"], probe["task_types"]
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
