"""Checks where the schemas of a job come from.

Knows the tables of the file; must not know how a schema is fetched or read.
"""

from __future__ import annotations

from ewma_ops.serde.formats import FORMATS, entry_of
from ewma_ops.settings.model import Input, Output
from ewma_ops.settings.registry_table import REGISTRY_KEY

__all__ = ["refuse_schemas"]


def refuse_schemas(
    reads: Input, output: Output | None, *, registry: bool, mistakes: list[str]
) -> None:
    """Record schemas with two sources, without a source, or that are not needed.

    Parameters
    ----------
    reads, output
        The tables ``[input]`` and ``[output]``.
    registry
        Whether there is a table ``[registry]``.
    mistakes
        Mistakes are added here.
    """
    by_key = reads.key in FORMATS and entry_of(str(reads.key)).has_schema
    by_events = output is not None and output.format == "avro"
    by_value = entry_of(reads.format).has_schema
    if by_value and reads.schema is not None and registry and not (by_key or by_events):
        mistakes.append(
            "input.schema and [registry] both give the schema of a message: remove one of them"
        )
    if by_value and reads.schema is None and not registry:
        mistakes.append(
            f'format = "{reads.format}" needs schemas: add [registry] with {REGISTRY_KEY}, or '
            "schema = with the path of a file to [input]"
        )
    if reads.format == "protobuf" and (reads.schema is None) != (reads.message is None):
        missing = "message" if reads.message is None else "schema"
        mistakes.append(
            f"input.{missing} is missing: a Protobuf file needs schema and message; with a "
            "registry neither is needed"
        )
    if by_key and not registry:
        mistakes.append(f'key = "{reads.key}" needs schemas: add [registry] with {REGISTRY_KEY}')
    if by_events and not registry:
        mistakes.append(
            f'output.format = "avro" needs a registry: add [registry] with {REGISTRY_KEY}'
        )
    if registry and not (by_key or by_value or by_events):
        mistakes.append(
            f'[registry] is not used by format = "{reads.format}": remove it, or set input.format '
            'or input.key to "avro" or "protobuf", or output.format to "avro"'
        )
