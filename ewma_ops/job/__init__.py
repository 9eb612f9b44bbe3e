"""The job that `ewma run` runs: the dataflow, its processes and its recovery store."""
