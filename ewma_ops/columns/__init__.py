"""Arrays that flow through every part: readings, byte columns, hashes. NumPy only, no formulas."""
