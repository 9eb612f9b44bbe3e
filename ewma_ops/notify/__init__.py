"""Sends alarms from their topic to Alertmanagers and webhooks."""
