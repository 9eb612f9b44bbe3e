"""One job on several machines: their layout, and how their launchers agree on each run."""
