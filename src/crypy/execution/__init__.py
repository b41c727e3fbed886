"""The one door for orders: stamp, review, desk, reconciliation.

`crypy.execution.desk` has `Desk`; what it refuses is a `Refused` with the limit's name, and it sends nothing that is
not `Approved` by `crypy.execution.review.review`.
"""
