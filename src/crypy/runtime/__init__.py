"""Agents without markets: their life and supervision, streams, knobs, terminals; clocks and compiled kernels.

Import from the modules: `agent`, `supervisor`, `streams`, `knobs`, `commands`, `terminal`, `directory`.
"""
