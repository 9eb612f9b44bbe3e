"""Secrets: masking values that hold one, and which options may be shown."""
