"""A small Schema Registry that can be made to fail, behind the REST API of the real ones.

What a real registry answers is tested with Apicurio (tests/helpers/apicurio.py); this one is for
what those cannot be made to do: to be away for a moment, to refuse, to answer with rubbish.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ewma_ops.serde.schemas import WrittenSchema

__all__ = ["Kept", "SmallRegistry", "framed", "small_registry"]

Answer = tuple[int, object]


def framed(schema_id: int, datum: bytes) -> bytes:
    """Return a datum behind the id of its schema."""
    return b"\0" + schema_id.to_bytes(4, "big") + datum


class Kept:
    """Schemas that are known without a registry: of Avro as documents, or as they are written."""

    def __init__(self, **by_id: Any) -> None:
        self._by_id = by_id
        self.asked: list[int] = []

    def schema(self, schema_id: int) -> WrittenSchema | None:
        self.asked.append(schema_id)
        found = self._by_id.get(f"s{schema_id}")
        if found is None or isinstance(found, WrittenSchema):
            return found
        return WrittenSchema(json.dumps(found))


@dataclass
class SmallRegistry:
    """What a registry has and how it behaves; may be changed while it runs.

    ``fail`` is asked before each answer, and may give another one; ``authorization`` is the header
    that callers have to send. ``asked`` are method and path of each call.
    """

    by_id: dict[int, dict[str, Any]] = field(default_factory=dict)
    versions: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    fail: Callable[[], Answer | None] = lambda: None
    authorization: str | None = None
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, schema: object, schema_id: int, **more: object) -> None:
        text = schema if isinstance(schema, str) else json.dumps(schema)
        self.by_id[schema_id] = {"schema": text, **more}

    def answer(self, method: str, path: str, body: Any) -> Answer:
        match path.partition("?")[0].split("/")[1:]:
            case ["schemas", "ids", number] if int(number) in self.by_id:
                return 200, self.by_id[int(number)]
            case ["subjects", subject, "versions", version] if (
                subject,
                int(version),
            ) in self.versions:
                return 200, self.versions[subject, int(version)]
            case ["subjects", subject, "versions"] if method == "POST":
                found = [i for i, one in self.by_id.items() if one["schema"] == body["schema"]]
                schema_id = found[0] if found else 1 + max(self.by_id, default=0)
                self.add(body["schema"], schema_id)
                self.subjects.setdefault(subject, []).append(schema_id)
                return 200, {"id": schema_id}
            case ["subjects", subject] if method == "POST":
                for schema_id in self.subjects.get(subject, []):
                    if self.by_id[schema_id]["schema"] == body["schema"]:
                        return 200, {"id": schema_id, "subject": subject, "version": 1}
        return 404, {"error_code": 40403, "message": "Schema not found"}


@contextlib.contextmanager
def small_registry(context: ssl.SSLContext | None = None) -> Iterator[SmallRegistry]:
    """Run a registry during the block, on a port of its own."""
    registry = SmallRegistry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            registry.asked.append(f"{self.command} {self.path}")
            wanted = registry.authorization
            found = registry.fail()
            if found is None and wanted is not None and self.headers["Authorization"] != wanted:
                found = 401, {"error_code": 40101, "message": "Unauthorized"}
            code, content = found or registry.answer(self.command, self.path, body)
            answer = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
