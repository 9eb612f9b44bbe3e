"""JSON: payloads of one shape by the column, others one by one; smoothed events."""
