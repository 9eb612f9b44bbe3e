"""The command line, ``ewma``: a module for each command."""
