"""The configuration file: its model, how it is loaded, and how it is described in plain text."""
