"""The recovery store: lock, manifest, Bytewax's part files, and checkpoints of their logs."""
