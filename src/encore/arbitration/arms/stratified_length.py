"""A control: at random within each tenth of the examples by length, so that both halves are about equally long."""

import numpy as np

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, stratified


class Arm:
    label = "Random within lengths"
    needs = ("lengths",)

    def split(self, ctx: Context) -> Split:
        edges = np.quantile(ctx.lengths, np.arange(1, 10) / 10)
        strata = np.searchsorted(edges, ctx.lengths)
        return stratified(strata, ctx.rl_fraction, ctx.generator("stratified_length"))
