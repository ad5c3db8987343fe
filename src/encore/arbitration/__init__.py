"""Which examples a policy imitates (SFT) and which it explores (RL): PRISM, its rivals, and the way to add one."""

from encore.arbitration.concentration import concentration
from encore.arbitration.context import Context
from encore.arbitration.registry import Arm, arm, arm_names
from encore.arbitration.splitting import Split, split

__all__ = ["Arm", "Context", "Split", "arm", "arm_names", "concentration", "split"]
