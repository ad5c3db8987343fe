"""MAESTRO (arXiv 2601.07208): a Conductor that learns from the advantages its weights led to, every few steps."""

from encore.scalarization.learned import Learned


class Scalarizer(Learned):
    name = "conductor"
    label = "MAESTRO"
