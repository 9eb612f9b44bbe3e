"""A Schema Registry: asked over HTTP, waited for while it is away, its answers kept."""
