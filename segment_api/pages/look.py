"""Templates and files of the pages: opened once, stamped by their content, so that browsers keep them until they change."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from segment_api.pages import words
from segment_api.services import Services

_HERE: Final = Path(__file__).parent
_STATIC: Final = _HERE / "static"
_SCRIPTS: Final = "vega.js"
"""The charts' library; comes with the extra `report`, not with us."""


@cache
def files() -> dict[str, bytes]:
    """The static files by name."""
    return {path.name: path.read_bytes() for path in sorted(_STATIC.iterdir()) if path.is_file()}


@cache
def stamp() -> str:
    """Changes whenever a static file does."""
    return hashlib.sha256(b"".join(files().values())).hexdigest()[:12]


@cache
def charts_library() -> bytes | None:
    """Vega, Vega-Lite and Vega-Embed as one script; None without the extra `report`. Takes a second or three."""
    try:
        import vl_convert
    except ImportError:
        return None
    return str(vl_convert.javascript_bundle()).encode()  # type: ignore[call-arg]  # its stub asks for a snippet


def static(name: str) -> Response:
    """A static file, kept by browsers for as long as its address stays."""
    content = charts_library() if name == _SCRIPTS else files().get(name)
    if content is None:
        return Response("There is no such file.", 404)
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    headers = {"Cache-Control": "public, max-age=86400", "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}
    return Response(content, media_type=kind, headers=headers)


class Look:
    """Renders the templates."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= words.filters(self._shade, services.clock)

    def _shade(self, segment: str) -> int:
        """The number of a segment's colour."""
        return self.shades().get(segment, words.SHADES - 2)

    def shades(self) -> dict[str, int]:
        """The number of each segment's colour."""
        model = self._services.watch.state.model
        known = {s.id: i % (words.SHADES - 2) for i, s in enumerate(model.segments)} if model else {}
        return known | {"prospect": words.SHADES - 1}

    def page(self, request: Request, template: str, here: str, code: int = 200, /, **values: Any) -> HTMLResponse:
        """A page; `here` is its place in the navigation."""
        caller = getattr(request.state, "caller", None)
        context: Mapping[str, Any] = {
            "stamp": stamp(),
            "here": here,
            "caller": caller.name if caller else "local",
            **values,
        }
        headers = {"Cache-Control": "no-store"}
        return HTMLResponse(self._environment.get_template(template).render(context), code, headers)

    def trouble(self, request: Request, status: int, title: str, detail: str) -> HTMLResponse:
        """The page of something that went wrong; of an installation that is not complete yet, with what is missing."""
        here = "/" + request.url.path.split("/")[1]
        steps = self._steps() if status == 503 and self._services.watch.state.model is None else []
        title = "First steps" if steps else title
        return self.page(request, "trouble.html", here, status, title=title, detail=detail, status=status, steps=steps)

    def _steps(self) -> list[tuple[bool, str, str]]:
        """Done or not, what, and how."""
        s = self._services
        fleet = s.fleet.state
        return [
            (not fleet.error, "Kafka with its topics", fleet.error or f"{len(fleet.partitions)} partitions are read."),
            (
                s.watch.state.model is not None,
                "A model",
                "`segstream train --source thelook --warehouse duckdb:///shop.duckdb --publish` learns it from your warehouse.",
            ),
            (bool(fleet.members), "A worker", "`segstream worker` follows the orders and decides."),
            (
                bool(s.tail.seen),
                "Customers",
                "`segstream replay` sends your history once; from then on, orders as they come.",
            ),
        ]
