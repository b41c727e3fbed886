"""What the verbs of `crypy model` do."""
