"""Studies of a history: the best decay, the accuracy of forecasts, the alarms of rules."""
