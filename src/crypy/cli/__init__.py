"""The command line: verbs over `crypy.app`, each imported when it is called."""
