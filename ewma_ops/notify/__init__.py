"""Alarms taken from their topic to those who are to know: Alertmanagers and webhooks."""
