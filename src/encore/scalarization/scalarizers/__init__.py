"""One scalarizer a file; see encore.scalarization.registry."""
