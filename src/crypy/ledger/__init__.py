"""Orders, fills, balances and postings, written before anything is sent: append-only double entry in SQL.

Import from the modules: `crypy.ledger.ledger` has `Ledger`, `crypy.ledger.values` what it takes and gives.
"""
