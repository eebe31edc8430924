"""The engine: geometry, parity, format and the array; see README.md."""
