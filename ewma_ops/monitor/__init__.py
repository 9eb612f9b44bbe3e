"""Alarms: how their limits follow from a wanted rate of false alarms.

The first step is :func:`design`.
"""

from ewma_ops.monitor.chart_design import Design, design

__all__ = ["Design", "design"]
