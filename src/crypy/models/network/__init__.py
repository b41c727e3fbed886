"""The network that corrects the volatility baseline: its settings, inputs, encoders (JAX) and serving arithmetic (numba)."""
