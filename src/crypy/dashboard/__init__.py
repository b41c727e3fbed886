"""The read-only page: one table of all markets, pushed four times a second. It can change nothing.

Import from the modules: `server` (serves), `ports` (what it reads).
"""
