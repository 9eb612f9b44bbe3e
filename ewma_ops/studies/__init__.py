"""What history says: which decay predicts best, and how often an alarm would have been raised."""
