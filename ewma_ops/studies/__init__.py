"""What history says: which decay predicts best, how good forecasts were, how often rules alarm."""
