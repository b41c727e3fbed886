"""What the verbs of `crypy data` do."""
