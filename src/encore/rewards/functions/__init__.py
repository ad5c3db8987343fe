"""The rewards: one file each, found by `encore.rewards.registry`."""
