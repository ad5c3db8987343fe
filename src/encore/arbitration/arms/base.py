"""The policy as it is: trained on nothing."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split


class Arm:
    name = "base"
    label = "Base"

    def skip(self, ctx: Context) -> str | None:
        return None

    def split(self, ctx: Context) -> Split:
        return Split()
