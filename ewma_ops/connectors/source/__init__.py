"""The source: one part for each input partition, one consumer for each worker."""
