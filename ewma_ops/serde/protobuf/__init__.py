"""Protobuf: payloads of a Schema Registry, or of one message type. Needs the extra ``protobuf``."""
