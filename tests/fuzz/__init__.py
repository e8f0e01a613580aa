"""Fuzzing: arbitrary bytes against everything that reads what others send.

A target is a module with `check(data)`, which raises for whatever must not happen, and `seeds()`, the inputs
to begin with: our own vectors, so nothing binary is kept. `make fuzz` drives the targets by coverage
(`__main__`), `test_short` by seeded mutation.

What must not happen: an error outside of `protocol.errors`, another result by another chunking or by columns,
a neighbour that is harmed, a value that cannot be stored or is not read back as it was written, memory that
grows.
"""
