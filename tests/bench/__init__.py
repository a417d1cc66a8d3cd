"""Measurements against named rivals, each pair in one machine and one run: `make bench`."""
