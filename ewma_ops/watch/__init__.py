"""A job watched while it runs: in the browser, in the terminal, as a picture."""
