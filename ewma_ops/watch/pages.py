"""The served resources: the page and its files, a stream of its view, and CSV.

Knows HTTP and server-sent events; must not know Kafka. A stream composes each message when it is
sent, from the newest state: a slow client gets fewer, and delays no others.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ewma_ops.watch.changes import Sent
from ewma_ops.watch.guard import COOKIE, Guard
from ewma_ops.watch.looker import Looker
from ewma_ops.watch.view import View

__all__ = ["Pages"]

STATIC = Path(__file__).parent / "static"
_MOST_TABS = 32
_BEAT_S = 0.25
_LOOK_S = 0.04
_HEAD_S = 1.0
_LONGEST_BODY = 1 << 20
_LONGEST_NAME = 64
_IDLE_S = 60.0
"""How long what somebody searched is kept after the last look: of a million ids it is 8 MB."""
_PIECE = 2_000
_MOST_DIGITS = 9
_FORMULA = re.compile(r"^[=+\-@\t\r]")


class _Tab:
    """One open page: its view, and the points that it has."""

    def __init__(self, looker: Looker) -> None:
        self.looker, self.sent = looker, Sent()
        self.view = View()
        self.changes = 0


class Pages:
    """The application that is served.

    Parameters
    ----------
    about
        What does not change: names, measures.
    make_looker
        Makes one who looks.
    version
        Returns a number that changes with what there is to see.
    is_closing
        Whether the server is about to end: streams end then.
    """

    def __init__(
        self,
        about: dict[str, Any],
        make_looker: Callable[[], Looker],
        version: Callable[[], int],
        is_closing: Callable[[], bool],
    ) -> None:
        self._about, self._make_looker = about, make_looker
        self._version, self._is_closing = version, is_closing
        self._tabs: dict[str, _Tab] = {}
        self._lookers: OrderedDict[str, tuple[Looker, float]] = OrderedDict()
        """Of those who ask for each look, by their names, and when they did last."""
        self.guard: Guard | None = None
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/favicon.ico", self._icon),
                Route("/about", self._tell_about),
                Route("/token", self._take_token, methods=["POST"]),
                Route("/view", self._take_view, methods=["POST"]),
                Route("/look", self._look, methods=["POST"]),
                Route("/stream", self._stream),
                Route("/series.csv", self._csv),
                Route("/readings.csv", self._readings_csv),
                Mount("/static", StaticFiles(directory=STATIC)),
            ]
        )

    async def _page(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def _icon(self, _: Request) -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    async def _tell_about(self, _: Request) -> Response:
        return JSONResponse(self._about, headers={"cache-control": "no-store"})

    async def _take_token(self, request: Request) -> Response:
        body = await _body(request)
        guard = self.guard
        try:
            given = msgspec.json.decode(body or b"", type=dict[str, str]).get("token", "")
        except msgspec.MsgspecError:
            given = ""
        if guard is None or not guard.is_token(given):
            return JSONResponse({"error": "this is not the token"}, 403)
        response = JSONResponse({})
        response.set_cookie(COOKIE, guard.cookie, httponly=True, samesite="strict")
        return response

    async def _take_view(self, request: Request) -> Response:
        view = await _view(request)
        if isinstance(view, Response):
            return view
        tab = self._tabs.get(request.query_params.get("tab", ""))
        if tab is None:
            return JSONResponse({"error": "no such tab: open its stream first"}, 404)
        tab.view, tab.changes = view, tab.changes + 1
        return JSONResponse({})

    async def _look(self, request: Request) -> Response:
        """Return head and table once, for `ewma top --connect`."""
        view = await _view(request)
        if isinstance(view, Response):
            return view
        name = request.query_params.get("tab", "")[:_LONGEST_NAME]
        looker = self._looker(name)

        def look() -> bytes:
            page = {"now": time.time(), "head": looker.head(), "table": looker.table(view)}
            return msgspec.json.encode(page)

        content = await asyncio.to_thread(look)
        headers = {"cache-control": "no-store"}
        return Response(content, media_type="application/json", headers=headers)

    def _looker(self, name: str) -> Looker:
        """Return what answers somebody; of those who have not asked for a while nothing is kept."""
        now = time.monotonic()
        known = name in self._lookers
        looker = self._lookers.pop(name)[0] if known else self._make_looker()
        self._lookers[name] = looker, now
        while (
            len(self._lookers) > _MOST_TABS or next(iter(self._lookers.values()))[1] < now - _IDLE_S
        ):
            self._lookers.popitem(last=False)
        return looker

    async def _stream(self, request: Request) -> Response:
        name = request.query_params.get("tab", "")[:_LONGEST_NAME]
        if name in self._tabs or len(self._tabs) >= _MOST_TABS:
            text = "busy" if name in self._tabs else f"{_MOST_TABS} pages are open already"
            return JSONResponse({"error": text}, 503)
        tab = self._tabs[name] = _Tab(self._make_looker())
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(
            self._frames(name, tab), media_type="text/event-stream", headers=headers
        )

    async def _frames(self, name: str, tab: _Tab) -> AsyncIterator[bytes]:
        sent: dict[str, bytes] = {}
        try:
            yield b"retry: 1000\n\n"
            while not self._is_closing():
                begun = time.monotonic()
                seen = self._version(), tab.changes
                parts = await asyncio.to_thread(_composed, tab)
                new = {part: text for part, text in parts.items() if sent.get(part) != text}
                if new:
                    sent.update(new)
                    members = b",".join(b'"%b":%b' % (p.encode(), t) for p, t in new.items())
                    now = f'"now":{time.time():.3f}'.encode()
                    yield b"data: {%b,%b}\n\n" % (now, members)
                await self._wait(tab, seen, begun)
        finally:
            if self._tabs.get(name) is tab:
                del self._tabs[name]

    async def _wait(self, tab: _Tab, seen: tuple[int, int], begun: float) -> None:
        """Wait for something new to see, and not to send too often."""
        while not self._is_closing():
            await asyncio.sleep(_LOOK_S)
            after = time.monotonic() - begun
            if tab.changes != seen[1] or after > _HEAD_S:
                return
            if after > _BEAT_S and self._version() != seen[0]:
                return

    async def _csv(self, request: Request) -> Response:
        """Return the table as it is filtered and sorted, all of its rows."""
        asked = request.query_params
        try:
            measure = int(asked.get("measure", "0"))
            view = View(
                q=asked.get("q", "")[:70_000],
                sort=asked.get("sort", "name"),
                desc=asked.get("desc") == "1",
                only=tuple(filter(None, asked.get("only", "").split(","))),
                measure=max(measure, 0),
            )
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        looker = self._make_looker()
        pieces = await asyncio.to_thread(lambda: looker.lines(view, _PIECE))
        return _csv_response(pieces, "series.csv")

    async def _readings_csv(self, request: Request) -> Response:
        """Return the readings of one series, as far as its chart has them."""
        series_id = request.query_params.get("id", "")
        measure = request.query_params.get("measure", "0")
        if not measure.isdecimal() or len(measure) > _MOST_DIGITS:
            return JSONResponse({"error": "measure is not a number of a measure"}, 400)
        looker = self._make_looker()
        pieces = await asyncio.to_thread(lambda: looker.reading_lines(series_id, int(measure)))
        if pieces is None:
            return JSONResponse({"error": "no such series is open"}, 404)
        return _csv_response(pieces, "readings.csv")


def _composed(tab: _Tab) -> dict[str, bytes]:
    view, looker = tab.view, tab.looker
    parts: dict[str, Any] = {"head": looker.head(), "table": looker.table(view)}
    parts["alarms"] = looker.alarms()
    parts["causes"] = looker.causes()
    parts["charts"] = looker.charts(view, tab.sent)
    return {name: msgspec.json.encode(part) for name, part in parts.items()}


async def _view(request: Request) -> View | Response:
    """Return the view that is asked for, or why it is refused."""
    body = await _body(request)
    if body is None:
        return JSONResponse({"error": f"longer than {_LONGEST_BODY:,} bytes"}, 413)
    try:
        return msgspec.json.decode(body, type=View)
    except (msgspec.MsgspecError, ValueError) as error:
        return JSONResponse({"error": str(error)}, 400)


async def _body(request: Request) -> bytes | None:
    """Return the body of a request; None if it is too long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_BODY:
            return None
    return body


def _csv_response(rows: Iterator[list[Any]], name: str) -> Response:
    def lines() -> Iterator[bytes]:
        text = ""
        for row in rows:
            text += ",".join(map(_cell, row)) + "\r\n"
            if len(text) > 1 << 16:
                yield text.encode(errors="replace")
                text = ""
        yield text.encode(errors="replace")

    return StreamingResponse(
        lines(),
        media_type="text/csv; charset=utf-8",
        headers={
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "no-store",
        },
    )


def _cell(content: Any) -> str:
    """Return a cell of CSV; text that a spreadsheet would take for a formula begins with '.

    Examples
    --------
    >>> _cell("=1+1"), _cell(-1.5), _cell("a,b"), _cell(None)
    ("'=1+1", '-1.5', '"a,b"', '')
    """
    if content is None:
        return ""
    if not isinstance(content, str):
        return repr(content)
    text = f"'{content}" if _FORMULA.match(content) else content
    if any(mark in text for mark in ',"\r\n'):
        text = '"' + text.replace('"', '""') + '"'
    return text
