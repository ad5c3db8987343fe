"""Pools and targets from the Hugging Face hub, where there is a network.

Every data set is named with its repository, configuration and split. Its revision is that of `data.revisions`, else its
main branch; the commit that this was is asked of the hub and stands in the data card. The tests run against a stand-in
of the hub: names and columns are those of its public users, and no row of its own was at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile, ZipFile

from encore.data import formats
from encore.data.drawing import Fits, Part, Raw, draw_pool, draw_target
from encore.data.registry_types import Pool, Target
from encore.data.settings import DataSettings
from encore.errors import UserError

Convert = Callable[[Mapping[str, Any], str], Iterable[Raw]]
"""From a row and the configuration it is of."""


@dataclass(frozen=True)
class HubSet:
    """One split of a repository, over all of `configurations`; or lines of JSON in its ZIP file `archive`.

    `member` is the end of their path in there.
    """

    repository: str
    configurations: tuple[str, ...]
    split: str
    licence: str
    rows: Convert
    archive: str | None = None
    member: str = ""
    notes: str = ""


@dataclass(frozen=True)
class HubTarget:
    """`validation` None: shots are drawn from the evaluation rows, which then lose them."""

    domain: str
    evaluation: HubSet
    validation: HubSet | None = None


def _less(family: str) -> Convert:
    def rows(row: Mapping[str, Any], _: str) -> Iterable[Raw]:
        pair = formats.messages(row["messages"])
        if pair is not None:
            yield *pair, family, ""

    return rows


def _infinity(row: Mapping[str, Any], _: str) -> Iterable[Raw]:
    roles = {"human": "user", "gpt": "assistant"}
    turns = [{"role": roles.get(turn["from"], turn["from"]), "content": turn["value"]} for turn in row["conversations"]]
    pair = formats.messages(turns)
    if pair is not None:
        yield *pair, "infinity_instruct", ""


def _gsm8k(row: Mapping[str, Any], _: str) -> Iterable[Raw]:
    yield *formats.gsm8k(row), "gsm8k", "gsm8k"


def _mmlu(row: Mapping[str, Any], _: str) -> Iterable[Raw]:
    yield *formats.mmlu(row["subject"], row["question"], row["choices"], int(row["answer"])), "mmlu", row["subject"]


def _maths(row: Mapping[str, Any], configuration: str) -> Iterable[Raw]:
    yield row["problem"].strip(), row["solution"].strip(), "math", configuration


def _bbh(row: Mapping[str, Any], configuration: str) -> Iterable[Raw]:
    yield row["input"].strip(), str(row["target"]).strip(), "bbh", configuration


def _gpqa(row: Mapping[str, Any], _: str) -> Iterable[Raw]:
    """The right answer's place follows from the question, so that it is the same in every run."""
    wrong = [row[f"Incorrect Answer {number}"].strip() for number in (1, 2, 3)]
    place = sum(row["Question"].encode()) % 4
    choices = [*wrong[:place], row["Correct Answer"].strip(), *wrong[place:]]
    prompt = formats.multiple_choice(row["Question"], choices)
    yield prompt, formats.LETTERS[place], "gpqa", row.get("High-level domain") or "gpqa"


def _tydiqa(row: Mapping[str, Any], _: str) -> Iterable[Raw]:
    language = str(row["id"]).split("-")[0]
    yield *formats.reading(row["question"], row["context"], row["answers"]["text"][0]), "tydiqa", language


_LESS = "princeton-nlp/less_data"
_FIRST = "of each conversation its first question and answer"
_MATH = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
_BBH = (
    "boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages formal_fallacies "
    "geometric_shapes hyperbaton logical_deduction_five_objects logical_deduction_seven_objects "
    "logical_deduction_three_objects movie_recommendation multistep_arithmetic_two navigate object_counting "
    "penguins_in_a_table reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks "
    "sports_understanding temporal_sequences tracking_shuffled_objects_five_objects "
    "tracking_shuffled_objects_seven_objects tracking_shuffled_objects_three_objects web_of_lies word_sorting"
)


def _less_set(folder: str, licence: str) -> HubSet:
    member = f"train/processed/{folder}/{folder}_data.jsonl"
    return HubSet(_LESS, (), "train", licence, _less(folder), "less-data.zip", member, _FIRST)


POOLS: dict[str, HubSet] = {
    "infinity_instruct": HubSet(
        "BAAI/Infinity-Instruct", ("0625",), "train", "see its hub page", _infinity, notes=_FIRST
    ),
    "cot": _less_set("cot", "Apache-2.0"),
    "flan": _less_set("flan_v2", "Apache-2.0; each family its own"),
    "dolly": _less_set("dolly", "CC BY-SA 3.0"),
    "oasst": _less_set("oasst1", "Apache-2.0"),
}
TARGETS: dict[str, HubTarget] = {
    "gsm8k": HubTarget(
        "maths",
        HubSet("openai/gsm8k", ("main",), "test", "MIT", _gsm8k),
        HubSet("openai/gsm8k", ("main",), "train", "MIT", _gsm8k),
    ),
    "mmlu": HubTarget(
        "knowledge",
        HubSet("cais/mmlu", ("all",), "test", "MIT", _mmlu),
        HubSet("cais/mmlu", ("all",), "dev", "MIT", _mmlu),
    ),
    "math": HubTarget(
        "maths",
        HubSet("EleutherAI/hendrycks_math", _MATH, "test", "MIT", _maths),
        HubSet("EleutherAI/hendrycks_math", _MATH, "train", "MIT", _maths),
    ),
    # The hub has BBH's test rows alone, so its shots are drawn from them (LESS takes the prompts' three).
    "bbh": HubTarget("reasoning", HubSet("lukaemon/bbh", tuple(_BBH.split()), "test", "MIT", _bbh)),
    "gpqa": HubTarget("reasoning", HubSet("Idavidrein/gpqa", ("gpqa_extended",), "train", "CC BY 4.0", _gpqa)),
    "tydiqa": HubTarget(
        "languages",
        HubSet("google-research-datasets/tydiqa", ("secondary_task",), "validation", "Apache-2.0", _tydiqa),
        HubSet("google-research-datasets/tydiqa", ("secondary_task",), "train", "Apache-2.0", _tydiqa),
    ),
}


def pool(name: str, settings: DataSettings, fits: Fits | None = None) -> Pool:
    """The pool `name` of the hub, at most `settings.pool_size` rows of it.

    Raises UserError if the hub is out of reach, or the data set has not the columns that it had.
    """
    return draw_pool(name, _part(POOLS[name], settings, f"{name}-pool"), settings, fits)


def target(name: str, settings: DataSettings, fits: Fits | None = None) -> Target:
    """The target `name` of the hub, as `drawing.draw_target` draws it. Raises UserError as `pool`."""
    found = TARGETS[name]
    tested = _part(found.evaluation, settings, f"{name}-evaluation")
    shots = None if found.validation is None else _part(found.validation, settings, f"{name}-validation")
    return draw_target(name, found.domain, tested, shots, settings, fits)


def _part(found: HubSet, settings: DataSettings, prefix: str) -> Part:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    wanted = settings.revisions.get(found.repository, "main")
    try:
        revision = HfApi().dataset_info(found.repository, revision=wanted).sha
        read = _archived(found, revision) if found.archive else _loaded(found, revision)
    except (OSError, ValueError, LookupError, BadZipFile, HfHubHTTPError, httpx.HTTPError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{found.repository} cannot be had from the hub ({reason}): say HF_HUB_OFFLINE=0 where there is a network, "
            "or set data.source to local or procedural"
        ) from error
    try:
        raw = [one for rows, name in read for row in rows for one in found.rows(row, name)]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{found.repository} at {revision} has not the columns that it had ({type(error).__name__}: {error}): "
            "name an earlier commit in data.revisions"
        ) from error
    return Part.of(raw, prefix, **_about(found, revision))


def _loaded(found: HubSet, revision: str | None) -> list[tuple[Iterable[Mapping[str, Any]], str]]:
    """Rows by configuration."""
    import datasets

    return [
        (datasets.load_dataset(found.repository, name, split=found.split, revision=revision), name)
        for name in found.configurations
    ]


def _archived(found: HubSet, revision: str | None) -> list[tuple[Iterable[Mapping[str, Any]], str]]:
    """Rows of the one member of the archive whose path ends in `found.member`. LookupError where that is not one."""
    from huggingface_hub import hf_hub_download

    assert found.archive is not None
    path = hf_hub_download(found.repository, found.archive, repo_type="dataset", revision=revision)
    with ZipFile(path) as archive:
        names = [name for name in archive.namelist() if f"/{name}".endswith(f"/{found.member}")]
        if len(names) != 1:
            raise LookupError(f"{found.archive} has {len(names)} files {found.member}")
        with archive.open(names[0]) as lines:
            return [([json.loads(line) for line in lines if line.strip()], "")]


def _about(found: HubSet, revision: str | None) -> dict[str, str]:
    part = found.member or f"{', '.join(found.configurations)}; {found.split}"
    source = f"hub: {found.repository} ({part})"
    return {"licence": found.licence, "source": source, "revision": revision or "unknown", "notes": found.notes}
