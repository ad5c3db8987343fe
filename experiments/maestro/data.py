"""Stage maestro.data: the rows of a benchmark by split, with their data cards and their overlap."""

from __future__ import annotations

import json

from encore import configuration, tracking
from encore.benchmarks import load, write_items
from encore.benchmarks.items import SPLITS
from encore.data import ngram_overlap
from encore.evaluation.metrics import NAMES, checkable
from experiments import warm
from experiments.maestro.settings import RUNS, settings
from experiments.options import arguments

PARAMS = ["profile", "tracking", "maestro.benchmarks"]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "benchmark")
    params = configuration.read(PARAMS)
    wanted = settings().benchmarks
    with tracking.start(
        out=RUNS / "data" / options.benchmark,
        stage="maestro.data",
        experiment="maestro",
        seed=wanted.seed,
        params=params,
        inputs=[],
    ) as run:
        run.tag({"environment": options.benchmark})
        benchmark = load(options.benchmark, wanted, checkable)
        for split in SPLITS:
            write_items(run.out / f"{split}.jsonl", getattr(benchmark, split))
        (run.out / "cards.md").write_text("\n".join(card.markdown() for card in benchmark.cards), encoding="utf-8")
        about = {"metric": benchmark.metric, "metric_name": NAMES[benchmark.metric], "kind": benchmark.kind}
        cards = [card.as_dict() for card in benchmark.cards]
        (run.out / "benchmark.json").write_text(json.dumps({**about, "cards": cards}, indent=1), encoding="utf-8")
        results: dict[str, float] = {split: len(getattr(benchmark, split)) for split in SPLITS}
        if benchmark.train:
            found = ngram_overlap(
                [item.prompt for item in benchmark.train], [item.prompt for item in benchmark.test], keep=0
            )
            results |= {"overlap_13_words": found.hits, "overlap_templates": found.template_hits}
        for split in ("train", "test"):
            path = run.out / f"{split}.jsonl"
            run.dataset(f"{options.benchmark}-{split}", path, source=benchmark.cards[0].source)
        run.result(results)


if __name__ == "__main__":
    warm.delegate("experiments.maestro.data")
    main()
