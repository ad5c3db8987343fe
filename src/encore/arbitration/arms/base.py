"""The policy as it is: trained on nothing."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split


class Arm:
    label = "Base"
    fixed_fraction = 0.0

    def split(self, ctx: Context) -> Split:
        return Split()
