"""How fast crypy is, each job beside a peer or a compiled yardstick in the same run: `python -m benchmarks`."""
