"""Stage g2is.data: pool and targets as files, with data cards, and the check that nothing tested is in the pool."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from encore import configuration, data, tracking
from encore.errors import UserError
from experiments import warm
from experiments.g2is.settings import RUNS, policy_of, settings

PARAMS = ["profile", "tracking", "policy", "g2is.policy", "g2is.data", "g2is.targets"]


@tracking.stage_main
def main() -> None:
    g2is = settings()
    params = configuration.read(PARAMS)
    policy = policy_of(params)
    with tracking.start(
        out=RUNS / "data", stage="g2is.data", experiment="g2is", seed=g2is.data.seed, params=params, inputs=[]
    ) as run:
        from encore import models

        chat = data.instruction_format(models.load_tokenizer(policy))
        with run.phase("data"):
            passed_over = 0

            def holds(row: data.Instruction) -> bool:
                nonlocal passed_over
                found = data.tokenize_instruction(row, chat, policy.max_length) is not None
                passed_over += not found
                return found

            targets = [data.target(name, g2is.data, holds) for name in g2is.targets]
            check_apart(targets)
            passed_over = 0  # what was for the targets
            pool, cards = data.pool(g2is.data, targets, holds)
            lengths, kept = [], []
            seen: set[tuple[int, ...]] = set()
            too_long = 0  # of generated rows, which are not drawn
            for row in pool.rows:
                example = data.tokenize_instruction(row, chat, policy.max_length)
                if example is None:
                    too_long += 1
                elif tuple(example.input_ids) not in seen:  # cut at the context, two rows can be one
                    seen.add(tuple(example.input_ids))
                    kept.append(row)
                    lengths.append(len(example))
            if not kept:
                raise UserError(f"no row of the pool fits into {policy.max_length} tokens: raise policy.max_length")
            data.write_instructions(run.out / "pool.jsonl", kept)
            (run.out / "lengths.json").write_text(json.dumps(lengths))
            overlaps = []
            for target in targets:
                folder = run.out / target.name
                folder.mkdir(exist_ok=True)
                for part, rows in (("validation", target.validation), ("evaluation", target.evaluation)):
                    fits = [row for row in rows if data.tokenize_instruction(row, chat, policy.max_length)]
                    if not fits:
                        raise UserError(f"no {part} row of {target.name} fits into {policy.max_length} tokens")
                    data.write_instructions(folder / f"{part}.jsonl", fits)
                (folder / "about.json").write_text(json.dumps({"domain": target.domain}))
                cards += target.cards
                found = data.ngram_overlap([row.text for row in kept], [row.text for row in target.evaluation])
                overlaps.append({"target": target.name, **dataclasses.asdict(found)})
        (run.out / "cards.json").write_text(json.dumps([card.as_dict() for card in cards], indent=1))
        text = "# Data\n\n" + "\n".join(card.markdown() for card in cards)
        (run.out / "CARDS.md").write_text(text, encoding="utf-8")
        (run.out / "overlap.json").write_text(json.dumps(overlaps, indent=1))
        run.dataset(pool.name, run.out / "pool.jsonl", source=pool.card.source)
        for target in targets:
            source = target.cards[-1].source
            run.dataset(target.name, run.out / target.name / "evaluation.jsonl", source=source, context="test")
        run.result(
            {
                "pool": len(kept),
                "pool_too_long": passed_over + too_long,
                "pool_equal_once_cut": len(pool.rows) - len(kept) - too_long,
                "pool_tokens": sum(lengths),
                **{f"overlap/{one['target']}": one["hits"] for one in overlaps},
            }
        )


def check_apart(targets: Sequence[data.Target]) -> None:
    """Raises UserError where one target is shown what another is tested on: a model for all of them would know it."""
    tested = {row.question: (one.name, row.id) for one in targets for row in one.evaluation}
    for one in targets:
        for row in one.validation:
            if row.question in tested:
                name, place = tested[row.question]
                raise UserError(
                    f"validation row {row.id} of {one.name} is tested on as {place} of {name}: take one of the two "
                    "targets out of g2is.targets"
                )


if __name__ == "__main__":
    warm.delegate("experiments.g2is.data")
    main()
