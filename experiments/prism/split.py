"""Stage prism.split: which demonstrations each method, under each seed, sends to SFT and which to RL.

A file for every method and seed, since a training depends on its own alone: `{"sft": [ids], "rl": [ids]}`, or
`{"not_run": reason}` where a method cannot be used, which the comparison then says in its row.
"""

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
from experiments.prism.settings import RUNS, routes_of

PARAMS = ["profile", "tracking", "prism.rl_fraction", "prism.methods", "prism.seeds"]
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


def routes(arm: arbitration.Arm, context: arbitration.Context, ids: np.ndarray, environment: str) -> dict[str, Any]:
    """What a file of the stage holds."""
    reason = arm.skip(context)
    if reason:
        return {"not_run": f"cannot run on {environment}: {reason}"}
    split = arm.split(context)
    if arm.fraction(context.rl_fraction) > 0 and not split.rl:
        return {
            "not_run": f"sends none of the {len(ids)} demonstrations of {environment} to RL: it would be SFT by "
            f"another name (more of {environment}.demonstrations may help)"
        }
    return {"sft": [str(ids[index]) for index in split.sft], "rl": [str(ids[index]) for index in split.rl]}


def row(method: str, seed: int, found: dict[str, Any], ids: np.ndarray, types: np.ndarray) -> dict[str, Any]:
    """One row of the table of splits: how many go where, and by task type what share goes to RL."""
    if "not_run" in found:
        return {"method": method, "seed": seed, "not_run": found["not_run"]}
    to_rl = np.isin(ids, found["rl"])
    shares = {f"rl_share/{name}": float(to_rl[types == name].mean()) for name in sorted(set(types.tolist()))}
    return {"method": method, "seed": seed, "sft": len(found["sft"]), "rl": len(found["rl"]), **shares}


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment")
    name = options.environment
    params = configuration.read(PARAMS)
    prism = params["prism"]
    source = RUNS / "probe" / name / "probe.npz"
    pass_rates = RUNS / "pass_rates" / name / "pass_rates.npz"
    with tracking.start(
        out=RUNS / "split" / name,
        stage="prism.split",
        experiment="prism",
        group={"profile": params["profile"], "environment": name},
        seed=None,
        params=params,
        inputs=[source, pass_rates],
    ) as run:
        probe = np.load(source)
        ids, types = probe["ids"], probe["task_types"]
        rows = []
        for method in prism["methods"]:
            arm = arbitration.arm(method)
            for seed in prism["seeds"]:
                context = arbitration.Context(
                    n=len(ids), seed=seed, rl_fraction=prism["rl_fraction"], columns=columns(source, pass_rates)
                )
                found = routes(arm, context, ids, name)
                (run.out / routes_of(name, method, seed).name).write_text(json.dumps(found, indent=0))
                rows.append(row(method, seed, found, ids, types))
        run.table("splits", rows)
        for method, reason in {one["method"]: one["not_run"] for one in rows if "not_run" in one}.items():
            print(f"prism.split: arm '{method}' will not be run: it {reason}")
        run.result({"splits": len(rows), "not_run": sum("not_run" in one for one in rows)})


if __name__ == "__main__":
    main()
