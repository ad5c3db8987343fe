"""Training of policies on TRL."""

from encore.training.sft import SFTResult, SFTSettings, sft

__all__ = ["SFTResult", "SFTSettings", "sft"]
