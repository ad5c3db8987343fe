"""Arithmetic on a block of rows in float32, by the library that takes the least time for it."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_SMALL = 1e-12
"""A length whose square float32 cannot hold."""
_BY_VECTOR = 4
"""As many queries take less time by a product with each than by one with all."""
_COLUMNS = 8
"""A product with columns that are no multiple of it takes as long as one with more columns, or longer."""


def lengths(block: Float[Tensor, "block dim"]) -> Float[Tensor, " block"]:
    """Lengths of all rows."""
    if block.device.type == "cpu":  # BLAS's dot takes half the time of a vector norm
        with np.errstate(invalid="ignore", over="ignore"):  # the caller names such a row
            found = torch.from_numpy(np.sqrt(np.vecdot(block.numpy(), block.numpy())))
    else:
        found = torch.linalg.vector_norm(block, dim=1)
    small = found < _SMALL
    if bool(small.any()):
        found[small] = torch.linalg.vector_norm(block[small].double(), dim=1).float()
    return found


class Queries:
    """Multiplies blocks with the same few rows, on their device.

    On a CPU that is numpy's OpenBLAS: few columns take MKL up to ten times as long.
    """

    def __init__(self, queries: Float[Tensor, "queries dim"]):
        self.queries = queries.contiguous()
        if queries.device.type == "cpu" and len(queries) > _BY_VECTOR:
            self.columns = np.zeros((queries.shape[1], len(queries) + -len(queries) % _COLUMNS), np.float32)
            self.columns[:, : len(queries)] = queries.numpy().T

    def products(self, block: Float[Tensor, "block dim"]) -> Float[Tensor, "queries block"]:
        """Inner products with all rows of the block."""
        if block.device.type != "cpu":
            return torch.mm(block, self.queries.T).T
        rows, count = block.numpy(), len(self.queries)
        with np.errstate(invalid="ignore"):  # the caller names such a row
            if count <= _BY_VECTOR:
                found = np.empty((count, len(rows)), np.float32)
                for place, query in enumerate(self.queries.numpy()):
                    found[place] = rows @ query
                return torch.from_numpy(found)
            return torch.from_numpy((rows @ self.columns)[:, :count].T)


def some_products(
    block: Float[Tensor, "block dim"], queries: Float[Tensor, "queries dim"], ends: Tensor, columns: Tensor
) -> Float[Tensor, " pairs"]:
    """Inner products of pairs, by rows of the block: `columns` are the queries of each, from end to end."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        shape = (len(block), len(queries))
        pattern = torch.sparse_csr_tensor(ends, columns, torch.zeros(len(columns)), shape, check_invariants=False)
    return torch.sparse.sampled_addmm(pattern, block, queries.T, beta=0).values()
