"""The sink: checked sends, transactions, and the read-back that makes output exactly once."""
