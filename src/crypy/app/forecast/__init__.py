"""What the verbs of `crypy forecast` do. Nothing here reaches what can trade."""
