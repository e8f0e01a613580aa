"""One attack a file; `tests/hostile/__init__.py` says what stands in it."""
