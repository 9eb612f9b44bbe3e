"""One job on several machines: who is in it, and how their launchers agree on each run."""
