"""Arms by name: each is one class `Arm` in one file of the folder `arms`, and the file's name is the arm's.

To add a baseline, add a file. Nothing is registered by hand, and tests/encore/arbitration/test_arms.py runs every arm
it finds. The smallest file is a class with a `label` and a method `split`; what it does not say has the defaults of
`Arm`. An arm that lacks a column says so in `skip`, and the comparison prints the reason in place of its number.

A name may end in `_rl10`, `_rl30`, `_rl50`, `_rl70` or `_rl90`, which sets the percentage of examples for RL (figure 4
of PRISM, arXiv 2601.07224), and then in `_equal`, which gives RL as many iterations as GRPO on all tasks has:
`prism_cv_rl30`, `random_equal`, `l2_rl70_equal`. Only arms that divide the examples take them.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from encore.arbitration import arms
from encore.arbitration.context import Context
from encore.arbitration.splitting import Split
from encore.errors import UserError

Algorithm = Literal["grpo", "gigpo", "hpt"]
PERCENTAGES = (10, 30, 50, 70, 90)
RENAMED = {"prism_low": "prism_gini", "prism_high": "inverse_gini"}
SUFFIXES = re.compile(r"(?P<arm>.+?)(?:_rl(?P<percent>\d+))?(?P<equal>_equal)?")


@dataclass(frozen=True)
class Arm:
    """Which examples one method imitates and which it explores, and how. What the class in the file leaves out is:

    no `needs`, `algorithm` "grpo", `fixed_fraction` None, `overlap` False.
    """

    name: str
    """As in params.yaml and on the command line, suffixes included."""
    label: str
    """As in tables and plots."""
    needs: tuple[str, ...]
    """Columns of the context that `split` reads: norms, losses, lengths, task_types, pass_rates, matrix_sizes."""
    algorithm: Algorithm
    """How RL learns; `hpt` also imitates the demonstrations of the tasks it plays."""
    fixed_fraction: float | None
    """Share of the examples for RL of an arm that does not divide them: 0, 1; None where the share is a choice."""
    overlap: bool
    """Whether an example may be imitated and explored."""
    plugin: Any
    """The object of the class in the file."""
    chosen_fraction: float | None = None
    """Set by a suffix."""
    equal_steps: bool = False
    """RL has as many iterations as GRPO on all tasks, whatever the arm's share of them."""

    def skip(self, ctx: Context) -> str | None:
        """Why this arm cannot split these examples; None if it can. Loads nothing."""
        reason: str | None = self.plugin.skip(ctx) if hasattr(self.plugin, "skip") else ctx.missing(*self.needs)
        return reason

    def fraction(self, default: float) -> float:
        """Share of the examples that is to go to RL; `default` is that of arms that leave it to the parameter."""
        if self.fixed_fraction is not None:
            return self.fixed_fraction
        return default if self.chosen_fraction is None else self.chosen_fraction

    def split(self, ctx: Context) -> Split:
        """The examples to imitate and those to explore; the same for the same columns and seed.

        `ctx.rl_fraction` is the default of `fraction`.

        Raises:
            UserError: a column is missing; an example is in both halves of an arm that declares no overlap.
        """
        reason = self.skip(ctx)
        if reason:
            raise UserError(f"arm '{self.name}' {reason}: probe them first, or take it out of the methods")
        found: Split = self.plugin.split(ctx.with_fraction(self.fraction(ctx.rl_fraction)))
        if found.shared and not self.overlap:
            raise UserError(
                f"arm '{self.name}' sends example {found.shared[0]} to SFT and to RL: set `overlap = True` in its file "
                "if that is meant"
            )
        return found

    def iterations(self, full: int, split: Split, n: int) -> int:
        """Iterations of RL where GRPO on all `n` examples has `full`: as many, or in proportion; 0 without examples."""
        if not split.rl:
            return 0
        return full if self.equal_steps else max(1, round(full * len(split.rl) / n))


def arm_names() -> list[str]:
    """Every arm there is, without suffixes and without loading any."""
    return sorted(module.name for module in pkgutil.iter_modules(arms.__path__))


def arm(name: str) -> Arm:
    """The arm called `name`, perhaps with suffixes.

    Raises:
        UserError: there is none; the message names those there are. A suffix that the arm does not take.
    """
    known = arm_names()
    if name in known:
        return _load(name)
    parts = SUFFIXES.fullmatch(name)
    stem = parts["arm"] if parts else name
    if parts is None or stem not in known:
        if stem in RENAMED:
            raise UserError(f"arm '{stem}' is now called '{RENAMED[stem]}': change its name in prism.methods")
        raise UserError(
            f"unknown arm {name!r}: choose from {', '.join(known)}; those that divide the examples take the suffixes "
            f"{', '.join(f'_rl{percent}' for percent in PERCENTAGES)} and _equal"
        )
    found = _load(stem)
    if found.fixed_fraction is not None:
        raise UserError(
            f"arm {name!r}: {stem} sends {found.fixed_fraction:.0%} of the examples to RL by definition: take off its "
            "suffix"
        )
    label = found.label
    fraction = None
    if parts["percent"]:
        if int(parts["percent"]) not in PERCENTAGES:
            raise UserError(
                f"arm {name!r}: the percentage for RL is one of {', '.join(map(str, PERCENTAGES))}, not "
                f"{int(parts['percent'])}"
            )
        fraction = int(parts["percent"]) / 100
        label += f", {int(parts['percent'])} % RL"
    if parts["equal"]:
        label += ", equal steps"
    return replace(found, name=name, label=label, chosen_fraction=fraction, equal_steps=bool(parts["equal"]))


def _load(name: str) -> Arm:
    plugin = importlib.import_module(f"{arms.__name__}.{name}").Arm()
    algorithm: Any = getattr(plugin, "algorithm", "grpo")
    if algorithm not in get_args(Algorithm):
        raise UserError(f"arm '{name}' learns by '{algorithm}': choose from {', '.join(get_args(Algorithm))}")
    return Arm(
        name=name,
        label=plugin.label,
        needs=tuple(getattr(plugin, "needs", ())),
        algorithm=algorithm,
        fixed_fraction=getattr(plugin, "fixed_fraction", None),
        overlap=getattr(plugin, "overlap", False),
        plugin=plugin,
    )
