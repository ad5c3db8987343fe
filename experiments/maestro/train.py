"""Stage maestro.train: every arm and seed of a benchmark, each from the same start, each a run of its own.

Without `--method` and `--seed` all cells are trained, `maestro.workers` at a time; where `launch` says several
processes, one after the other, each in as many.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from encore import configuration, launch, ranks, tracking
from encore.benchmarks import read_items
from encore.errors import UserError
from encore.policy import PolicySettings
from encore.training import SFTSettings
from encore.training.conductor import MultiRewardSettings
from experiments import warm
from experiments.maestro import cells
from experiments.maestro.arms import Arm, arm
from experiments.maestro.settings import RUNS, cell, group, section, settings

PARAMS = [
    "profile",
    "tracking",
    "launch",
    "policy",
    "maestro.methods",
    "maestro.seeds",
    "maestro.workers",
    "maestro.sft",
    "maestro.rewards",
    "maestro.preference",
    "maestro.judge_url",
    "maestro.judge_model",
    "maestro.rl",
    "maestro.conductor",
    "maestro.by_benchmark",
    "maestro.static",
]
CODE = [
    Path(path)
    for path in (
        "experiments/maestro/train.py",
        "experiments/maestro/policies.py",
        "experiments/maestro/rewarding.py",
        "src/encore/rewards",
        "src/encore/scalarization",
        "src/encore/training",
        "src/encore/rollout",
        "src/encore/chat.py",
        "src/encore/models.py",
    )
]
"""As in dvc.yaml: part of a cell's hash, since a cell is kept where DVC runs the stage again."""


def resolved(params: dict[str, Any], benchmark: str, one: Arm) -> dict[str, Any]:
    """The parameters that decide this cell, and no others: a change elsewhere leaves it as it is."""
    maestro = params["maestro"]
    chosen: dict[str, Any] = {"arm": one.name}
    if one.trains == "supervised":
        chosen["sft"] = maestro["sft"]
    if one.trains == "rl":
        names = list(one.rewards or maestro["rewards"]["names"])
        given = maestro["rewards"]["parameters"]
        chosen |= {
            "rewards": {name: {**given.get(name, {}), **one.reward_parameters.get(name, {})} for name in names},
            "rl": section(params, "rl", benchmark, one.rl),
            "scalarizer": one.scalarizer,
            "scalarizer_parameters": section(params, "conductor", benchmark, one.parameters)
            if one.conductor
            else dict(one.parameters),
        }
        if "preference" in names:
            own = (RUNS / "preference" / benchmark / "model").as_posix()
            model = maestro["preference"]["source"] or own
            like_the_policy = {name: params["policy"][name] for name in ("device", "dtype")}
            chosen["rewards"]["preference"] = {**like_the_policy, **chosen["rewards"]["preference"], "model": model}
        if "llm_judge" in names:
            judge = {"url": maestro["judge_url"], "model": maestro["judge_model"]}
            chosen["rewards"]["llm_judge"]["judge"] = {**chosen["rewards"]["llm_judge"].get("judge", {}), **judge}
    return {"profile": params["profile"], "tracking": params["tracking"], "policy": params["policy"], "maestro": chosen}


def run_of(job: cells.Job, params: dict[str, Any], policy: PolicySettings) -> tuple[tracking.Run, dict[str, Any]]:
    """The run of one cell, not begun, and the parameters that decide it."""
    benchmark, method, seed = job
    one = arm(method, params["maestro"]["static"])
    start, rows = paths(benchmark)
    inputs = [start, *policy.files()]
    if one.trains != "nothing":
        inputs += [rows, *CODE]
    chosen = resolved(params, benchmark, one)
    if "preference" in chosen["maestro"].get("rewards", {}) and not params["maestro"]["preference"]["source"]:
        inputs.append(RUNS / "preference" / benchmark)
    run = ranks.start(
        out=cell("train", benchmark, method, seed),
        stage="maestro.train",
        experiment="maestro",
        group=group(params["profile"], benchmark, method),
        seed=seed,
        params=chosen,
        inputs=inputs,
    )
    return run, chosen


def paths(benchmark: str) -> tuple[Path, Path]:
    """The policy that all cells of a benchmark start from, and its rows."""
    return RUNS / "start" / benchmark, RUNS / "data" / benchmark / "train.jsonl"


def train_cell(job: cells.Job) -> None:
    """Trains one cell, unless its folder holds that very run."""
    benchmark, method, seed = job
    params = configuration.read(PARAMS)
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    one, (start, rows) = arm(method, params["maestro"]["static"]), paths(benchmark)
    run, chosen = run_of(job, params, policy)
    if cells.finished(run):
        print(f"maestro.train: {run.final} is up to date", flush=True)
        return
    with run:
        if one.trains == "nothing":
            source = json.loads((start / "policy.json").read_text(encoding="utf-8"))["source"]
            if ranks.is_first():
                (run.out / "policy.json").write_text(json.dumps({"source": source}))
            run.result({"steps": 0})
        elif one.trains == "supervised":
            _supervised(run, policy, chosen["maestro"], start, rows, seed)
        else:
            _reinforced(run, policy, chosen["maestro"], benchmark, start, rows, seed)


def launch_cell(job: cells.Job, launching: launch.LaunchSettings) -> None:
    """As `train_cell`, in the processes of `launching`; what is up to date or trains nothing stays in this one."""
    params = configuration.read(PARAMS)
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    if arm(job[1], params["maestro"]["static"]).trains == "nothing" or cells.finished(run_of(job, params, policy)[0]):
        train_cell(job)
        return
    own = ["--benchmark", job[0], "--method", job[1], "--seed", str(job[2])]
    launch.restart("experiments.maestro.train", launching, policy.device, own)


def _supervised(
    run: tracking.Run, policy: PolicySettings, chosen: dict[str, Any], start: Path, rows: Path, seed: int
) -> None:
    import torch

    from encore.training import sft
    from experiments.maestro import policies

    torch.manual_seed(seed)
    model, tokenizer, _ = policies.load(_placed(policy), start)
    examples = policies.supervised_examples(_items(rows), tokenizer, policy.max_length)
    run.dataset(f"{rows.parent.name}-train", rows, source=str(rows))
    with run.phase("sft"):
        model, result = sft(
            model,
            tokenizer,
            examples,
            configuration.build(SFTSettings, chosen["sft"], "maestro.sft"),
            seed=seed,
            checkpoints=run.checkpoints,
            progress=run,
        )
    run.count(tokens_trained=result.tokens, flops=tracking.flops(model.config, result.tokens, training=True))
    if ranks.is_first():
        _save(run, model, tokenizer)
    run.result({"steps": result.steps, "examples": result.examples, "loss": result.final_loss})


def _reinforced(
    run: tracking.Run,
    policy: PolicySettings,
    chosen: dict[str, Any],
    benchmark: str,
    start: Path,
    rows: Path,
    seed: int,
) -> None:
    import torch

    from encore.scalarization import scalarizer
    from encore.training.conductor import multi_reward_rl
    from experiments.maestro import policies
    from experiments.maestro.rewarding import reward_functions

    settings_rl = configuration.build(MultiRewardSettings, chosen["rl"], "maestro.rl")
    torch.manual_seed(seed)
    model, tokenizer, chat = policies.load(_placed(policy), start)
    asked = policies.prompts(_items(rows), benchmark, chat, policy.max_length - settings_rl.max_response_tokens)
    run.dataset(f"{benchmark}-train", [{"id": prompt.columns["id"]} for prompt in asked], source=str(rows))
    functions = reward_functions(chosen["rewards"], chat, settings_rl.group_size, run.checkpoints)
    trained, result = multi_reward_rl(
        model,
        chat,
        asked,
        functions,
        scalarizer(chosen["scalarizer"]),
        settings_rl,
        seed=seed,
        checkpoints=run.checkpoints,
        progress=run,
        parameters=chosen["scalarizer_parameters"],
    )
    if ranks.is_first():
        counted = run.costs.totals()
        run.count(
            flops=tracking.flops(trained.config, counted["tokens_trained"], training=True)
            + tracking.flops(trained.config, counted["tokens_generated"], training=False)
        )
        _save(run, trained, tokenizer)
        weights = {"rewards": list(functions), "history": result.history, "last": result.weights}
        (run.out / "weights.json").write_text(json.dumps(weights, indent=1), encoding="utf-8")
    run.result({"steps": result.steps, "responses": result.responses, "last": result.last})


def _placed(policy: PolicySettings) -> PolicySettings:
    """Where weights are to be sharded: on the CPU, from which each process takes its part."""
    from encore.training.whole import will_shard

    return dataclasses.replace(policy, device="cpu") if will_shard() else policy


def _items(rows: Path) -> list[Any]:
    items = read_items(rows)
    if not items:
        raise UserError(
            f"{rows.parent.name} has no training rows from this source: take another source "
            "(maestro.benchmarks.source), or leave it out of maestro.benchmarks.names"
        )
    return items


def _save(run: tracking.Run, model: Any, tokenizer: Any) -> None:
    model.save_pretrained(run.out / "model")
    tokenizer.save_pretrained(run.out / "model")
    (run.out / "policy.json").write_text(json.dumps({"source": os.fspath(run.final / "model")}))


def options(description: str | None) -> argparse.Namespace:
    """`--benchmark`, and `--method` and `--seed` for a single cell."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--benchmark", required=True)
    parser.add_argument("--method", help="one arm alone, with --seed")
    parser.add_argument("--seed", type=configuration.seed, default=0)
    return parser.parse_args()


def jobs(parsed: argparse.Namespace) -> list[cells.Job]:
    """The cells that are asked for; those of arms that take longest first, so that no process is left with them."""
    maestro = settings()
    if parsed.method:
        return [(parsed.benchmark, arm(parsed.method, maestro.static).name, parsed.seed)]
    order = {"rl": 0, "supervised": 1, "nothing": 2}
    found = sorted(maestro.cells(), key=lambda pair: (order[pair[0].trains], not pair[0].conductor))
    return [(parsed.benchmark, one.name, seed) for one, seed in found]


@tracking.stage_main
@launch.reported()
def main() -> None:
    parsed = options(__doc__)
    wanted = jobs(parsed)
    if not parsed.method:
        names = [cell("train", *job).name for job in wanted]
        cells.keep_only(RUNS / "train" / parsed.benchmark, names)
    launching = configuration.build(launch.LaunchSettings, configuration.read(["launch"])["launch"], "launch")
    if launch.is_due(launching):
        for job in wanted:
            launch_cell(job, launching)
        return
    device = configuration.read(["policy"])["policy"]["device"]
    cells.run_all(train_cell, wanted, settings().workers, imports=warm.IMPORTS["maestro"] if device == "cpu" else None)


if __name__ == "__main__":
    warm.delegate("experiments.maestro.train")
    main()
