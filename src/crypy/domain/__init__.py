"""The words everything else is said in: instruments, events, orders, windows, settlement, ports, errors.

Pure values and pure functions over the standard library and msgspec; import from the modules.
"""
