"""Which examples of a pool to train on, for given targets: G2IS, its rivals, and the way to add one."""

from encore.selection.context import Features, SelectionContext
from encore.selection.influence import less_scores
from encore.selection.registry import Method, Plugin, method, names
from encore.selection.selected import Selection, best, budget
from encore.selection.walk import gradient_walk

__all__ = [
    "Features",
    "Method",
    "Plugin",
    "Selection",
    "SelectionContext",
    "best",
    "budget",
    "gradient_walk",
    "less_scores",
    "method",
    "names",
]
