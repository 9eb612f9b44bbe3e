"""Public import path of the composites: indicators made of several smoothings."""

from ewma_ops.stats.composites import Composite, bollinger, dema, macd, risk_metrics, tema

__all__ = ["Composite", "bollinger", "dema", "macd", "risk_metrics", "tema"]
