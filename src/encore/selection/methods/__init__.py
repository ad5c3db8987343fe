"""One method a file; see encore.selection.registry."""
