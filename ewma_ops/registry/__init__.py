"""A Schema Registry: requests over HTTP, retried while it is away; the answers are cached."""
