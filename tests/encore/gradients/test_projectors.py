"""Projections keep inner products, whatever the module's shape, the device's batch or the worker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encore.errors import UserError
from encore.gradients.projectors import Rademacher, Sparse, Whole, scrambled

KINDS = {
    "sparse": lambda dim, seed: Sparse(dim, seed),
    "sparse-1": lambda dim, seed: Sparse(dim, seed, nonzeros=1),
    "rademacher": Rademacher,
}
# (rank, features) of A and (features, rank) of B, tall, wide, tiny, and with more coordinates than columns or fewer.
SHAPES = [(1, 1), (4, 48), (96, 4), (16, 192), (512, 16), (8, 8), (1, 3000)]


def project(projector, values, offset=0):
    total = torch.zeros(len(values), projector.width(values.shape[1]))
    projector.add(total, values.clone(), offset)
    return total


def gradients_of(shape, n, seed):
    """Low-rank and heavy-tailed, as gradients are."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(n, shape[0], 2, generator=generator) ** 3
    right = torch.randn(n, 2, shape[1], generator=generator) ** 3
    return (left @ right).flatten(1)


@pytest.mark.parametrize("kind", ["sparse", "rademacher"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inner_products_stay_within_the_johnson_lindenstrauss_bound(kind, shape):
    """Error of ⟨x, y⟩ over ‖x‖‖y‖: standard deviation at most √(2/dim), and no pair past five of them."""
    dim, n = 2048, 24
    values = gradients_of(shape, n, seed=1)
    projected = project(KINDS[kind](dim, 3), values, offset=12_345)
    lengths = values.norm(dim=1)
    errors = ((projected @ projected.T - values @ values.T) / (lengths[:, None] * lengths)).flatten()
    bound = (2 / dim) ** 0.5
    assert errors.square().mean().sqrt() < 1.5 * bound
    assert errors.abs().max() < 5 * bound


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_make_independent_matrices_without_bias(kind):
    x, y = gradients_of((6, 20), 2, seed=2)
    estimates = [float(torch.dot(*project(KINDS[kind](64, seed), torch.stack([x, y])))) for seed in range(400)]
    spread = float(x.norm() * y.norm()) * (2 / 64) ** 0.5
    assert abs(np.mean(estimates) - float(x @ y)) < 5 * spread / 400**0.5
    assert 0.3 * spread < np.std(estimates) < 1.5 * spread


@pytest.mark.parametrize("kind", KINDS)
def test_parts_add_up_and_rows_are_alone(kind):
    projector, values = KINDS[kind](256, 0), torch.randn(5, 700)
    whole = project(projector, values)
    pieces = torch.zeros_like(whole)
    for start in range(0, 700, 123):
        projector.add(pieces, values[:, start : start + 123].clone(), start)
    torch.testing.assert_close(pieces, whole)
    for row in range(5):
        torch.testing.assert_close(project(projector, values[row : row + 1])[0], whole[row])


SCRAMBLED = [-3683999354358837584, 8460570970101496407, -9020737608855948264]
SIGNS = [1, 1, -1, -1, 1, 1, 1, -1]
COLUMNS = [5, 21, 43, 56]


def test_the_matrix_is_the_same_for_ever():
    """Stores made by one version must fit those of the next: these numbers may not change."""
    assert scrambled(torch.arange(3), 0).tolist() == SCRAMBLED
    assert Rademacher(32, 1).signs(torch.tensor([7]))[0, :8].tolist() == SIGNS
    assert project(Sparse(64, 5), torch.ones(1, 1), 9).nonzero()[:, 1].tolist() == COLUMNS


def test_every_coordinate_has_its_ones_in_every_block():
    matrix = project(Sparse(64, 0, nonzeros=4), torch.eye(50))
    assert (matrix.view(50, 4, 16).abs().sum(2) == 0.5).all()
    signs = Rademacher(64, 0).signs(torch.arange(500)).float()
    assert abs(signs.mean()) < 0.03
    assert (signs.T @ signs / 500 - torch.eye(64)).abs().max() < 0.25


def test_whole_keeps_all():
    values = torch.randn(2, 9)
    assert torch.equal(project(Whole(), values), values)


def test_widths_that_cannot_be():
    with pytest.raises(UserError, match="dim 10 is not a multiple of nonzeros 4"):
        Sparse(10)
    with pytest.raises(UserError, match="multiple of 32"):
        Rademacher(100)
