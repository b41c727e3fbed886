"""`python -m crypy` is `crypy`."""

from crypy.cli.main import main

main()
