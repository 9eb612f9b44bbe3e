"""Loops in C for what takes most of the time in bulk, each beside a reference in Python."""
