"""One component of each kind, as they were written for plugin API 1.0."""
