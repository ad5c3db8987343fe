"""A small picture of the pool that says between which bounds the cosine of any two rows lies.

With an orthonormal basis B of a few directions, each unit row g is a = Bg inside them and a rest e outside. Then
⟨g, h⟩ = ⟨a, b⟩ + ⟨e, f⟩, and the last term is at most ‖e‖‖f‖ (Cauchy and Schwarz). So bounds on the cosines of one row
with all need N · k numbers in place of N · D. They are narrow where the rows lie near few directions, as gradients of
one model often do, and say nothing where they do not: then no sketch is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from encore.selection.rows import ROUNDING, Rows

FEWEST_ROWS = 2048
"""Under which reading the pool costs less than a sketch of it."""
SLACK = 1e-5
"""More than float32 errs in the sum ⟨a, b⟩: each entry is within `ROUNDING` / 10, of 64 at most."""
_SAMPLE = 384
_HELD_OUT = 96
_MOST_DIRECTIONS = 64
_MOST_KNOWN = 32
"""How many of them may be directions that were given."""
_ORTHONORMAL = 1e-9
"""What inner products of orthonormal directions may be off."""
_GAIN = 0.05
"""Share of what is left outside that more directions must take from it to be worth their place."""
_LARGER = 1.5
"""How much more than the largest ⟨e, f⟩ of a sample's rows, of length one, a prediction allows for."""
_MOST_OUTSIDE = 0.7
"""Share of a row's square outside of the basis over which bounds would decide nothing."""


@dataclass(frozen=True)
class Sketch:
    """Coordinates of every unit row in a few directions, and the length of the rest, rounded up."""

    inside: Float[np.ndarray, "directions rows"]
    outside: Float[np.ndarray, " rows"]
    likely: float
    """Share of the bound on ⟨e, f⟩ that it will hardly ever exceed: where the rest is noise, far below 1."""

    def about(self, row: int) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Cosines of `row` with all, and by how much they may be off."""
        return self.inside[:, row] @ self.inside, self.outside * self.outside[row] + np.float32(SLACK)


def make_sketch(
    rows: Rows, directions: Float[Tensor, "queries dim"], seed: int = 0
) -> tuple[Sketch | None, Float[Tensor, "queries rows"] | None]:
    """A sketch of the rows and, from the same reading, the cosines of `directions` with them; or neither.

    The basis is the directions, if they are orthonormal, as their cosines are read anyhow, and others from a random
    sample of the rows. How many, other rows of the sample say.
    """
    if len(rows) < FEWEST_ROWS:
        return None, None
    sample = np.sort(np.random.default_rng(seed).permutation(len(rows))[: min(_SAMPLE, len(rows) // 2)])
    known = directions[:_MOST_KNOWN].double().cpu().numpy()
    if np.abs(known @ known.T - np.eye(len(known))).max(initial=0) > _ORTHONORMAL:
        known = known[:0]
    found = _basis(rows.exact(sample.tolist()).float().numpy(), known, np.random.default_rng(seed))
    if found is None:
        return None, None
    basis, likely = found
    cosines = rows.cosines(torch.cat([directions.float(), torch.from_numpy(basis)]))
    inside = torch.cat([cosines[: len(known)], cosines[len(directions) :]])
    return sketched(inside, likely), cosines[: len(directions)]


def sketched(inside: Float[Tensor, "directions rows"], likely: float) -> Sketch:
    """The sketch whose coordinates, cosines with orthonormal directions, are known."""
    coordinates = np.ascontiguousarray(inside.cpu().numpy())
    left = 1 - np.einsum("kn,kn->n", coordinates, coordinates) + np.float32(SLACK)
    return Sketch(coordinates, np.sqrt(np.maximum(left, np.float32(ROUNDING))), likely)


def _basis(
    sample: Float[np.ndarray, "sample dim"], known: Float[np.ndarray, "known dim"], random: np.random.Generator
) -> tuple[np.ndarray, float] | None:
    """The leading directions of what most of the sample has outside of the known ones, as many as hold what can be held
    of the others, in float32; and how large products of what is left may be."""
    order = random.permutation(len(sample))
    held = min(_HELD_OUT, len(sample) // 4)
    spanned = known.astype(np.float32)
    left = sample - (sample @ spanned.T) @ spanned
    seen, unseen = left[order[held:]], left[order[:held]]
    values, vectors = np.linalg.eigh(seen @ seen.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    count = min(_MOST_DIRECTIONS - len(known), len(seen) // 2, int((values > 1e-4 * values[0]).sum()))
    if values[0] < SLACK * len(seen):
        count = 0  # all lie in the known ones
    spanning = seen.T @ (vectors[:, :count] / np.sqrt(values[:count]))
    shares = np.square(unseen @ spanning).sum(0).cumsum() / held
    outside = np.maximum(float(np.square(unseen).sum()) / held - np.concatenate([[0], shares]), SLACK)
    enough = int((outside * (1 - _GAIN) > outside[-1]).sum())
    if outside[enough] > _MOST_OUTSIDE:
        return None
    basis = spanning[:, :enough].astype(np.float64)  # orthonormal but for float32: one step of Cholesky's QR
    basis -= known.T @ (known @ basis)
    basis = basis @ np.linalg.inv(np.linalg.cholesky(basis.T @ basis)).T
    rest = unseen - (unseen @ basis) @ basis.T
    rest /= np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), ROUNDING)
    products = (rest @ rest.T)[~np.eye(held, dtype=bool)]
    likely = min(1.0, _LARGER * float(np.abs(products).max()))
    return np.ascontiguousarray(basis.T, dtype=np.float32), likely
