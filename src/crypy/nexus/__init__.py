"""The nexus: current price, reference price and distributions of every coin x duration."""
