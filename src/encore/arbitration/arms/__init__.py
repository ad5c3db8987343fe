"""One arm a file; see encore.arbitration.registry."""
