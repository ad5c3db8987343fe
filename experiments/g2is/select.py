"""Stage g2is.select: what every arm chooses from the pool, for every target, fraction and seed, with its reasons.

A process takes the targets one after another, all arms of each, because a choice takes less time than starting one. A
method that cannot run here says
why, and the comparison prints the reason. The files say what was chosen and why, and nothing of time, so that the same
choice makes no training out of date; the seconds are in the table `choices`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encore import configuration, data, tracking
from encore.data import Instruction
from experiments import warm
from experiments.g2is.forks import dealt, side_by_side
from experiments.g2is.gradients import stores
from experiments.g2is.settings import MULTI_TARGET, READINGS, RUNS, Cell, G2isSettings, settings
from experiments.g2is.warmup import checkpoints

if TYPE_CHECKING:
    from encore.selection import Selection, SelectionContext

PARAMS = [
    "profile",
    "tracking",
    "g2is.targets",
    "g2is.methods",
    "g2is.parameters",
    "g2is.variants",
    "g2is.fractions",
    "g2is.curve",
    "g2is.curve_methods",
    "g2is.multi_target",
    "g2is.multi_target_methods",
    "g2is.seeds",
    "g2is.workers",
]


@tracking.stage_main
def main() -> None:
    g2is = settings()
    params = configuration.read(PARAMS)
    inputs = [RUNS / "data", RUNS / "gradients", RUNS / "warmup" / "checkpoints.json"]
    with tracking.start(
        out=RUNS / "select", stage="g2is.select", experiment="g2is", seed=None, params=params, inputs=inputs
    ) as run:
        targets = [*g2is.targets, *g2is.multi_target]
        with run.phase("select"):
            side_by_side(partial(choose_all, g2is, run.out, run.checkpoints), dealt(targets, g2is.workers))
        choices = [row for target in targets for row in json.loads((run.checkpoints / f"{target}.json").read_text())]
        run.table("choices", choices)
        run.result(
            {
                f"selected/{row['target']}/{row['method']}/{row['fraction']:g}": row["count"]
                for row in choices
                if row["seed"] == g2is.seeds[0]
            }
        )


def choose_all(g2is: G2isSettings, out: Path, kept: Path, targets: Sequence[str]) -> None:
    """Writes what every arm chooses for `targets` under `out`, and a row for each choice under `kept`."""
    rows = data.read_instructions(RUNS / "data" / "pool.jsonl")
    embed = _embedder(kept)
    untrained = [name for name in g2is.variants if name not in g2is.methods]
    arms = {method: g2is.cells(method) for method in [*g2is.methods, *untrained]}
    for target in targets:
        context = context_of(g2is.tested(target), rows, embed, several=target in MULTI_TARGET)
        made = []
        for method, cells in arms.items():
            (out / method).mkdir(exist_ok=True)
            for cell in (one for one in cells if one.target == target):
                found, seconds = choose(g2is, cell, context)
                path = out / cell.selection.relative_to(RUNS / "select")
                path.write_text(as_text(found, rows), encoding="utf-8")
                made.append(_row(cell, found, seconds))
        (kept / f"{target}.json").write_text(json.dumps(made))


def context_of(
    targets: Sequence[str], rows: Sequence[Instruction], embed: Callable[..., Any] | None, *, several: bool = False
) -> SelectionContext:
    """Everything that a method may look at for `targets`; checked here, once for all arms."""
    from encore.selection import SelectionContext

    validation = [data.read_instructions(RUNS / "data" / target / "validation.jsonl") for target in targets]
    joined = [row for part in validation for row in part]
    answers = [np.load(RUNS / "gradients" / part / "answers.npz") for part in ("pool", *targets)]
    kinds = {kind: stores("pool", kind) for kind in READINGS}
    plain: Any = [stores(target, "sgd") for target in targets]
    if several:  # target rows are few: they are joined in memory, once known to be of one kind
        _check_one_kind([kinds[kind] for kind in kinds] + plain)
        plain = [[np.concatenate([part[:] for part in at_checkpoint]) for at_checkpoint in zip(*plain, strict=True)]]
    return SelectionContext(
        pool_texts=[row.text for row in rows],
        pool_prompts=[row.prompt for row in rows],
        pool_families=[row.family for row in rows],
        target_families=[row.family for row in joined],
        target_texts=[row.text for row in joined],
        target_prompts=[row.prompt for row in joined],
        subtasks=[row.subtask for row in joined],
        targets=[name for name, part in zip(targets, validation, strict=True) for _ in part] if several else (),
        pool_features={kind: found for kind, found in kinds.items() if found},
        target_features={"sgd": plain[0]},
        checkpoint_weights=[weight for _, weight in checkpoints()],
        lengths=json.loads((RUNS / "data" / "lengths.json").read_text()),
        losses=answers[0]["losses"],
        pool_representations=answers[0]["states"],
        target_representations=np.concatenate([one["states"] for one in answers[1:]]),
        embeddings=embed,
        fraction=1.0,  # each cell's own is put in its place
    )


def choose(g2is: G2isSettings, cell: Cell, context: SelectionContext) -> tuple[dict[str, Any], float]:
    """One selection: indices in order, a reason each, open choices; or `skipped` and why. And the seconds it took."""
    from encore import selection
    from encore.selection import embeddings

    plugin = g2is.plugin(cell.method)
    if plugin is None:
        return {"indices": [], "reasons": [], "parameters": {}, "requested": 0}, 0.0
    choices = dict(g2is.choices(cell.method))
    if cell.target in MULTI_TARGET:
        choices["multi_target"] = cell.target
    own = context.changed(fraction=cell.fraction, seed=cell.seed, parameters=choices)
    chosen = selection.method(plugin)
    reason = chosen.skip(own)
    if reason is not None:
        lacking = embeddings.why_not() if own.embeddings is None and "embeddings" in reason else None
        return {"skipped": f"{reason} ({lacking})" if lacking else reason}, 0.0
    found: Selection = chosen.select(own)
    return {
        "indices": [int(place) for place in found.indices],
        "reasons": found.reasons,
        "parameters": found.parameters,
        "requested": found.requested,
    }, found.seconds


def as_text(found: dict[str, Any], rows: Sequence[Instruction]) -> str:
    """A selection as JSON that a person can read: what was decided, then one line a pick, in order."""
    if "skipped" in found:
        return json.dumps(found, ensure_ascii=False) + "\n"
    picks = []
    for index, reason in zip(found["indices"], found["reasons"], strict=True):
        row = rows[index]
        pick = {"index": index, "id": row.id, "family": row.family, **reason}
        if reason.get("reached_from") is not None:
            pick["reached_from_id"] = rows[reason["reached_from"]].id
        picks.append(json.dumps(pick, ensure_ascii=False))
    head = json.dumps({"requested": found["requested"], "parameters": found["parameters"]}, ensure_ascii=False)
    return head[:-1] + ',\n "picks": [\n  ' + ",\n  ".join(picks) + "\n ]}\n"


def _row(cell: Cell, found: dict[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "method": cell.method,
        "target": cell.target,
        "fraction": cell.fraction,
        "seed": cell.seed,
        "count": len(found.get("indices", [])),
        "requested": found.get("requested", 0),
        "seconds": seconds,
        "skipped": found.get("skipped", ""),
    }


def _check_one_kind(lists: Sequence[Sequence[Any]]) -> None:
    from encore.selection.checks import check_same_space

    check_same_space(*(store for one in lists for store in one))


def _embedder(kept: Path) -> Callable[[Sequence[str]], Any] | None:
    """One sentence-embedding model for all arms; None where it is not installed.

    Texts that one process has embedded the others read from `kept`: a pool is embedded once for all targets.
    """
    from encore.selection import embeddings

    if embeddings.why_not():
        return None
    model: Callable[[Sequence[str]], Any] | None = None

    def embed(texts: Sequence[str]) -> Any:
        nonlocal model
        import torch

        path = kept / f"embeddings-{hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:32]}.npy"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                model = model or embeddings.mini_lm()
                scratch = path.with_suffix(f".{os.getpid()}.npy")  # a killed stage leaves no half file
                np.save(scratch, model(texts).numpy())
                scratch.replace(path)
        return torch.from_numpy(np.load(path))

    return embed


if __name__ == "__main__":
    warm.delegate("experiments.g2is.select")
    main()
