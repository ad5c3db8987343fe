"""Stage g2is.train: fine-tunes the base on what one method chose, and tests it; all its targets, fractions and seeds.

Training and test share a process, because starting one takes longer than either at laptop scale; weights are kept only
if `g2is.keep_models` says so. Two cells that chose the same examples under the same seed (`random` and `full`, which
do not look at the target) are trained once and tested on each target. A run that is there already is not made again,
so a stage that was killed goes on with the first cell that is missing.
"""

from __future__ import annotations

import copy
import gc
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore import configuration, data, tracking
from encore.tracking.files import read_yaml
from encore.training import SFTSettings
from experiments import warm
from experiments.g2is.forks import dealt, side_by_side
from experiments.g2is.rows import tokenized
from experiments.g2is.settings import RUNS, Cell, group, policy_of, read_selection, settings
from experiments.options import arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from encore.policy import PolicySettings

PARAMS = [
    "profile",
    "tracking",
    "policy",
    "g2is.policy",
    "g2is.sft",
    "g2is.evaluate",
    "g2is.targets",
    "g2is.fractions",
    "g2is.curve",
    "g2is.curve_methods",
    "g2is.multi_target",
    "g2is.multi_target_methods",
    "g2is.seeds",
    "g2is.variants",
    "g2is.workers",
    "g2is.keep_models",
]
CELL_PARAMS = ("profile", "tracking", "policy")
"""What a cell depends on beside g2is.policy, g2is.sft and g2is.evaluate; the rest of `PARAMS` says which there are."""


@tracking.stage_main
def main() -> None:
    method = arguments(__doc__, "method").method
    g2is = settings()
    together: dict[tuple[int, ...], list[Cell]] = {}
    for one in g2is.cells(method):
        chosen = read_selection(one)
        if "skipped" in chosen:
            one.out.mkdir(parents=True, exist_ok=True)
            (one.out / "skipped.json").write_text(json.dumps(chosen))
            print(f"g2is.train: {method} was not run on {one.target}: it {chosen['skipped']}")
            continue
        (one.out / "skipped.json").unlink(missing_ok=True)  # of a run without what it needs
        indices = [pick["index"] for pick in chosen["picks"]]
        together.setdefault((one.seed, *indices), []).append(one)
    # The longest first, so that no process is left with one alone.
    cells = [together[chosen] for chosen in sorted(together, key=len, reverse=True)]
    from encore.training import sft  # noqa: F401  # what is imported before the fork is not imported by each process

    side_by_side(_work, dealt(cells, g2is.workers))


def _work(share: Sequence[Sequence[Cell]]) -> None:
    from experiments.g2is.evaluate import Tests

    read = configuration.read(PARAMS)
    g2is = settings()
    params = {
        **{key: read[key] for key in CELL_PARAMS},
        "g2is": {key: read["g2is"][key] for key in ("policy", "sft", "evaluate")},
    }
    policy = policy_of(read)
    pool = data.read_instructions(RUNS / "data" / "pool.jsonl")
    base = Base(policy)
    tests = Tests(base.tokenizer, g2is.evaluate, policy.max_length)
    gc.collect()
    gc.freeze()  # transformers collects garbage around every training: without the modules, a tenth of its time
    for cells in share:
        trained: Trained | None = None
        for one in cells:
            tested = g2is.tested(one.target)
            run = tracking.start(
                out=one.out,
                stage="g2is.train",
                experiment="g2is",
                group=group(params["profile"], one.target, one.method),
                seed=one.seed,
                params={**params, "fraction": one.fraction},
                inputs=[
                    one.selection,
                    RUNS / "data" / "pool.jsonl",
                    *(RUNS / "data" / target for target in tested),
                    *policy.files(),
                    *code(),
                ],
            )
            if _finished(one.out, run.inputs_hash):
                continue
            with run:
                run.tag({"target": one.target, "fraction": one.fraction})
                chosen = [pool[pick["index"]] for pick in read_selection(one)["picks"]]
                if trained is None:
                    trained = train(run, base, g2is.sft, chosen, one.seed, g2is.keep_models)
                tests.evaluate(run, tested, trained.model)
                run.result(trained.facts | {"shared_training": trained.used > 0})
                trained.used += 1


def code() -> list[Path]:
    """The modules that a cell's result follows from: after an edit of theirs a finished cell is made again."""
    from encore.evaluation import answers
    from encore.training import supervised
    from experiments.g2is import evaluate

    files = [__file__, *(module.__file__ for module in (evaluate, answers, supervised))]
    return [Path(os.path.relpath(file)) for file in files if file]


def _finished(out: Path, inputs_hash: str) -> bool:
    path = out / "run.yaml"
    return path.is_file() and read_yaml(path)["inputs_hash"] == inputs_hash


class Base:
    """The untrained model, loaded once for all trainings of a process."""

    def __init__(self, policy: PolicySettings) -> None:
        from encore import models

        self.policy = policy
        self.model: PreTrainedModel | None
        self.model, self.tokenizer = models.load(policy)

    def fresh(self) -> PreTrainedModel:
        """A copy of its own. A model on a GPU is loaded anew: two of them might not fit there."""
        if self.model is not None and self.model.device.type == "cpu":
            return copy.deepcopy(self.model)
        if self.model is not None:
            first, self.model = self.model, None
            return first
        from encore import models

        return models.load(self.policy)[0]


@dataclass
class Trained:
    """A model and what its training took; `used` counts the cells that were tested with it."""

    model: PreTrainedModel
    facts: dict[str, Any]
    used: int = 0


def train(
    run: tracking.Run, base: Base, settings: SFTSettings, chosen: list[data.Instruction], seed: int, keep: bool
) -> Trained:
    """The base fine-tuned on `chosen`; with none, the base itself."""
    import torch

    from encore.training import sft

    torch.manual_seed(seed)
    model = base.fresh()
    facts: dict[str, Any] = {"examples": len(chosen), "steps": 0, "tokens": 0, "train_wall_s": 0.0}
    if not chosen:
        return Trained(model, facts)
    examples = tokenized(chosen, data.instruction_format(base.tokenizer), base.policy.max_length)
    with run.phase("sft"):
        model, result = sft(
            model,
            base.tokenizer,
            examples,
            settings,
            seed=seed,
            checkpoints=run.checkpoints,
            progress=run,
        )
    run.count(tokens_trained=result.tokens, flops=tracking.flops(model.config, result.tokens, training=True))
    if keep:
        model.save_pretrained(run.out / "model")
        base.tokenizer.save_pretrained(run.out / "model")
    wall_s = run.costs.totals()["phases"]["sft"]["wall_s"]
    facts |= {"steps": result.steps, "tokens": result.tokens, "loss": result.final_loss, "train_wall_s": wall_s}
    return Trained(model, facts)


if __name__ == "__main__":
    warm.delegate("experiments.g2is.train")
    main()
