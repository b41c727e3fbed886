"""The composition roots: settings in, a graph of agents out. Nothing above knows how it is wired."""
