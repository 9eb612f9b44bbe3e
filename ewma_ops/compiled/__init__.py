"""Loops in C for the costliest work in bulk, each beside a reference in Python."""
