"""Tests: unit, lab (real kernels in virtual machines), bench, fuzz."""
