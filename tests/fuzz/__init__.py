"""Hostile input for every parser, and for a running server: `python -m tests.fuzz`, `make soak`."""
