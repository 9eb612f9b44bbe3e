"""The mathematics: what can be asked of a series, and how it is computed. NumPy only."""
