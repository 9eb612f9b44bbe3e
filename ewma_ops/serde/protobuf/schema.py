"""Protobuf schemas to message types: compiled from text, or as descriptors.

Knows schemas; must not know payloads, nor where a schema came from.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import grpc_tools
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message

from ewma_ops.errors import DiskError
from ewma_ops.serde.schemas import BadSchemaError, WrittenSchema

__all__ = ["file_of", "message_at", "message_class", "set_of"]

_COMPILE_S = 60.0
_LONGEST_WORDS = 300
_OWN_NAME = "schema.proto"
_INCLUDED = Path(grpc_tools.__file__).parent / "_proto"
_OF_CONFLUENT = {
    "confluent/meta.proto": """syntax = "proto3"; package confluent;
import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
""",
    "confluent/type/decimal.proto": """syntax = "proto3"; package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }
""",
}
"""Files that Confluent's registry has built in."""

_WELL_KNOWN = [module.DESCRIPTOR for module in (duration_pb2, struct_pb2, timestamp_pb2,
                                                wrappers_pb2, descriptor_pb2)]  # fmt: skip


def file_of(written: WrittenSchema) -> FileDescriptor:
    """Return the file of a schema, as descriptor in base64 or as text.

    Raises
    ------
    BadSchemaError
        If it cannot be used.
    """
    if written.kind != "PROTOBUF":
        raise BadSchemaError(f"it is a schema of {written.kind}, not of Protobuf")
    own = _descriptor(written.text)
    if own is None:
        return _compiled(written.text, dict(written.references))
    files = {}
    for name, text in written.references:
        found = _descriptor(text)
        if found is None:
            raise BadSchemaError(f"the schema {name} is not one of Protobuf")
        found.name = name
        files[name] = found
    own.name = own.name or _OWN_NAME
    missing = set(_OF_CONFLUENT) & _imports([own, *files.values()]) - files.keys()
    for name in sorted(missing):
        files |= _compile(name, _OF_CONFLUENT)
    return _pooled([*files.values(), own], own.name)


def set_of(content: bytes, name: str) -> descriptor_pool.DescriptorPool:
    """Return what knows the types of a file: a descriptor set, or the text of a ``.proto`` file.

    Raises
    ------
    BadSchemaError
        If it cannot be used.
    """
    if name.endswith(".proto"):
        return _compiled(content.decode(errors="replace"), {}).pool
    found = descriptor_pb2.FileDescriptorSet()
    try:
        found.ParseFromString(content)
    except DecodeError:
        raise BadSchemaError(
            "it is no descriptor set: make it with protoc --include_imports "
            "--descriptor_set_out=FILE, or give a .proto file"
        ) from None
    if not found.file:
        raise BadSchemaError("it holds no files")
    return _pooled(found.file, found.file[-1].name).pool


def message_at(file: FileDescriptor, indexes: Sequence[int]) -> Descriptor:
    """Return the message type at a place: counted among those of the file, then inside of each.

    Raises
    ------
    BadSchemaError
        If there is none.
    """
    inside: Iterable[Descriptor] = file.message_types_by_name.values()
    found: Descriptor | None = None
    for index in indexes:
        types = list(inside)
        if not 0 <= index < len(types):
            raise BadSchemaError(f"it has no message type at {list(indexes)}")
        found = types[index]
        inside = found.nested_types
    assert found is not None
    return found


def message_class(descriptor: Descriptor) -> type[Message]:
    """Return the class that parses messages of a type."""
    return message_factory.GetMessageClass(descriptor)


def _descriptor(text: str) -> descriptor_pb2.FileDescriptorProto | None:
    """Return the descriptor that stands in base64, ``None`` if it is another text."""
    try:
        found = descriptor_pb2.FileDescriptorProto()
        found.ParseFromString(base64.b64decode(text, validate=True))
        return found
    except (binascii.Error, ValueError, DecodeError):
        return None


def _imports(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> set[str]:
    return {name for file in files for name in file.dependency}


def _compiled(text: str, references: Mapping[str, str]) -> FileDescriptor:
    files = _compile(_OWN_NAME, {**_OF_CONFLUENT, **references, _OWN_NAME: text})
    return _pooled(files.values(), _OWN_NAME)


def _compile(name: str, texts: Mapping[str, str]) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Compile one of several files with all its imports: by protoc, in a separate process."""
    try:
        return _compile_in_scratch(name, texts)
    except subprocess.TimeoutExpired:
        raise BadSchemaError(f"it does not compile within {_COMPILE_S:g} s") from None
    except OSError as error:
        raise DiskError(
            f"a schema cannot be compiled in {tempfile.gettempdir()}: {error}; free some space"
        ) from None


def _compile_in_scratch(
    name: str, texts: Mapping[str, str]
) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    with tempfile.TemporaryDirectory(prefix="ewma-proto-") as scratch:
        folder = Path(scratch)
        for path, text in texts.items():
            parts = PurePosixPath(path)
            if parts.is_absolute() or ".." in parts.parts:
                raise BadSchemaError(f"it refers to {path!r}, which is no name of a file")
            target = folder / "in" / parts
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder / 'in'}",
                   f"-I{_INCLUDED}", "--include_imports",
                   f"--descriptor_set_out={folder / 'out'}", name]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMPILE_S, check=False
        )
        if done.returncode != 0:
            words = " ".join(done.stderr.split())[:_LONGEST_WORDS]
            raise BadSchemaError(f"it does not compile: {words}")
        made = descriptor_pb2.FileDescriptorSet.FromString((folder / "out").read_bytes())
    return {file.name: file for file in made.file}


def _pooled(files: Iterable[descriptor_pb2.FileDescriptorProto], name: str) -> FileDescriptor:
    """Return a file from a new descriptor pool, which holds all its imports."""
    pool = descriptor_pool.DescriptorPool()
    left = {file.name: file for file in files}
    for known in _WELL_KNOWN:
        if known.name not in left:
            file = descriptor_pb2.FileDescriptorProto()
            known.CopyToProto(file)
            left[file.name] = file
    added: set[str] = set()
    while left:
        ready = [one for one in left.values() if added.issuperset(one.dependency)]
        if not ready:
            absent = sorted(_imports(left.values()) - added - left.keys())
            what = (
                f"imports {', '.join(absent)}, which is not there" if absent else "imports itself"
            )
            raise BadSchemaError(f"it {what}")
        for one in ready:
            try:
                pool.Add(one)
            except TypeError as error:
                raise BadSchemaError(f"it is not valid: {error}") from None
            added.add(left.pop(one.name).name)
    try:
        return pool.FindFileByName(name)
    except (KeyError, TypeError) as error:
        raise BadSchemaError(f"it is not valid: {error}") from None
