"""Ready dataflows."""
