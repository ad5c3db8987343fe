"""The same weight for every reward of every response: MAESTRO's baseline "Eq"."""

from torch import Tensor

from encore.scalarization.context import Context
from encore.scalarization.fixed import Fixed, equal


class Scalarizer(Fixed):
    name = "equal"
    label = "Equal weights"

    def vector(self, context: Context) -> Tensor:
        return equal(len(context.rewards))
