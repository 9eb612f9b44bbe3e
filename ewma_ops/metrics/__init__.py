"""Metrics of a flow as Prometheus families; `families` has those that several rooms fill."""
