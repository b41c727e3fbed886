"""The one set of fee, latency, liquidity and queue kernels: backtest, local exchange and paper all use these.

Each is a small part with no clock, no I/O and no randomness of its own; import from the modules.
"""
