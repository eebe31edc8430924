"""Long work of the array: one module per kind, and `runner` that does their steps."""
