"""Avro: payloads of a Schema Registry, or of one schema. Needs fastavro, the extra ``avro``."""
