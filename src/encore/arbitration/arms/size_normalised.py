"""A control: PRISM's Gini of norms divided by the square root of each matrix's entries.

A larger matrix has a larger norm where its entries move as much, and key and value matrices are smaller than the others
under grouped queries: raw norms carry an inequality that says nothing of the example. The quotient is the root mean
square of the gradient's entries.
"""

import numpy as np

from encore.arbitration.concentration import concentration
from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    label = "Gini, size-normalised"
    needs = ("norms", "matrix_sizes")

    def split(self, ctx: Context) -> Split:
        return split(concentration(ctx.norms / np.sqrt(ctx.matrix_sizes), "gini"), ctx.rl_fraction)
