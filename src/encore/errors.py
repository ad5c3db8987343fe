"""The one exception that a user can cause: it ends a command with one line and exit status 1, without traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can put right.

    The message is one line and says three things: what is wrong, where, and what to do about it. For example
    `params.yaml: prism.train.method is 'stf'; known methods: grpo, prism, sft`.
    """
