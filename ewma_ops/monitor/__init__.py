"""Alarms: rules, and how their limits follow from a wanted rate of false alarms.

The first step is :func:`design`.
"""

from ewma_ops.columns.transitions import Transition, Transitions
from ewma_ops.monitor.chart_design import Design, design
from ewma_ops.monitor.rules import (
    AlarmRules,
    Bounds,
    Change,
    Flat,
    Frozen,
    Given,
    Level,
    Spike,
    Spread,
    Stale,
)

__all__ = [
    "AlarmRules",
    "Bounds",
    "Change",
    "Design",
    "Flat",
    "Frozen",
    "Given",
    "Level",
    "Spike",
    "Spread",
    "Stale",
    "Transition",
    "Transitions",
    "design",
]
