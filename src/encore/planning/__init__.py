"""A dry run of a profile: what its stages are, whether they can be built, what they take, before anything is paid for.

`encore plan PAPER --profile NAME` composes the profile aside, checks it, builds every object of its stages on a small
model of the same architecture, and prints stages, tokens, FLOPs, GPU-hours and disk. It runs no stage, fetches nothing
and leaves no file. What a paper's stages are made of stands in `experiments/<paper>/plan.py`.
"""
