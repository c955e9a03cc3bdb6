"""The lab as an ASGI application: routes, languages, and views as whole pages or their parts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from halfulp.catalogue import formats
from halfulp.errors import HalfulpError
from halfulp.lab import rendering
from halfulp.lab.guard import HEADERS, Guard
from halfulp.lab.state import State, filled
from halfulp.lab.uploads import Uploads, take
from halfulp.lab.view import Content, View
from halfulp.lab.views import VIEWS
from halfulp.language import LANGUAGES, from_header, use
from halfulp.language import translate as _

FILES = {"htmx.js": "htmx-2.0.11.min.js", "icon.svg": "icon.svg"}
TYPES = {"js": "text/javascript", "svg": "image/svg+xml"}
KEPT = {"cache-control": "max-age=86400"}
FRESH = {"cache-control": "no-store", "vary": "HX-Request, Accept-Language"}


@dataclass(frozen=True)
class Lab:
    """What views share: the folder of runs, and what was uploaded."""

    runs: Path
    uploads: Uploads = field(default_factory=Uploads)


def make_app(hosts: frozenset[str], runs: Path) -> Starlette:
    """The application, for requests to one of ``hosts``; runs are read from one folder alone."""
    lab = Lab(runs)
    routes = [
        Route("/", _home),
        Route("/static/{name}", _static),
        Route("/upload", _upload, methods=["POST"]),
        *(Route(f"/{view.name}", _page_of(view)) for view in VIEWS.values()),
        *(Route(f"/{view.name}/export", _export_of(view)) for view in VIEWS.values()),
    ]
    missing = {404: _missing, 405: _missing, 500: _broken}
    app = Starlette(routes=routes, middleware=[Middleware(Guard, hosts=hosts)],
                    exception_handlers=missing)  # fmt: skip
    app.state.lab = lab
    return app


async def _home(request: Request) -> Response:
    first = next(iter(VIEWS))
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"/{first}{query}", headers=FRESH)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "lab.css":
        return Response(rendering.styles(), media_type="text/css", headers=KEPT)
    if name == "lab.js":
        return Response(rendering.script(), media_type="text/javascript", headers=KEPT)
    if name == "plotly.js":
        from halfulp.report.figures import plotly_script

        return Response(plotly_script(), media_type="text/javascript", headers=KEPT)
    if name not in FILES:
        return await _missing(request, None)
    kind = TYPES[name.rpartition(".")[2]]
    return Response(rendering.static(FILES[name]), media_type=kind, headers=KEPT)


async def _upload(request: Request) -> Response:
    lab: Lab = request.app.state.lab
    with use(_language(request)):
        try:
            return Response(await take(request, lab.uploads), media_type="text/plain")
        except HalfulpError as error:
            return Response(str(error), 400, media_type="text/plain")


Endpoint = Callable[[Request], Awaitable[Response]]


def _page_of(view: View) -> Endpoint:
    async def page(request: Request) -> Response:
        with use(_language(request)):
            part = request.headers.get("hx-request") == "true"
            restored = request.headers.get("hx-history-restore-request") == "true"
            whole = not part or restored
            content, text = await _made(view, request, "page.html" if whole else "part.html")
            if content.elsewhere:
                return _led(content.elsewhere, part)
            headers = dict(FRESH)
            if not whole:
                headers |= _moves(request, content.state)
            return HTMLResponse(text, headers=headers)

    return page


def _led(link: str, part: bool) -> Response:
    """On to another view; htmx goes there by a header."""
    return Response(headers={"hx-redirect": link}) if part else RedirectResponse(link, 303)


def _moves(request: Request, state: State) -> dict[str, str]:
    """What a part does to the address: one more step back, none for what comes by the dozen."""
    pressed = request.query_params.keys()
    _address, _host, shown = request.headers.get("hx-current-url", "").partition(request.url.netloc)
    if "poll" in pressed or shown == state.url:
        return {}
    quiet = {"share", "power", "step"} & pressed  # sliders, and keys that are held
    return {"hx-replace-url" if quiet else "hx-push-url": state.url}


def _export_of(view: View) -> Endpoint:
    async def export(request: Request) -> Response:
        with use(_language(request)):
            content, text = await _made(view, request, "export.html")
            if content.elsewhere:
                return _led(content.elsewhere, False)
            name = f'attachment; filename="halfulp-{view.name}.html"'
            return HTMLResponse(text, headers=FRESH | {"content-disposition": name})

    return export


async def _made(view: View, request: Request, template: str) -> tuple[Content, bytes]:
    """What a view shows, and that as HTML."""
    query, lab = dict(request.query_params), request.app.state.lab

    def made() -> tuple[Content, bytes]:
        content, error = _built(view, query, _asked(request), lab)
        text = b"" if content.elsewhere else _rendered(view, lab, content, error, template)
        return content, text

    return await asyncio.to_thread(made) if view.is_slow else made()


def _built(view: View, query: dict[str, str], language: str, lab: Lab) -> tuple[Content, str]:
    """What a view shows, and what is wrong with its fields."""
    state = State(view.name, tuple(view.defaults.items()), (), language)
    try:
        state = filled(state, query)
        pressed = {name: query[name] for name in view.keys if name in query}
        return view.build(state, pressed, lab), ""
    except HalfulpError as error:
        return Content(state, {}, ""), " ".join(str(error).split())


def _rendered(view: View, lab: Lab, content: Content, error: str, template: str) -> bytes:
    state = content.state
    text = rendering.render(
        template, view=view, views=VIEWS, state=state, command=content.command, error=error,
        figures=content.figures, languages=_languages(view, state), choices=view.choices,
        formats=formats(), live=template != "export.html", **view.offers(lab), **content.shown,
    )  # fmt: skip
    return text.encode(errors="replace")  # a log may hold half a surrogate pair


def _languages(view: View, state: State) -> list[tuple[str, str, str]]:
    names = {"en": "English", "zh": "中文"}
    own = State(view.name, state.defaults, state.given)
    return [(code, names[code], own.link(view.name, lang=code)) for code in LANGUAGES]


def _asked(request: Request) -> str:
    """The language that was chosen on the page; "" where none was."""
    asked = request.query_params.get("lang", "")
    return asked if asked in LANGUAGES else ""


def _language(request: Request) -> str:
    return _asked(request) or from_header(request.headers.get("accept-language", ""))


async def _missing(request: Request, error: Any) -> Response:
    with use(_language(request)):
        status = getattr(error, "status_code", 404)
        text = _("The lab has no such page. Its views are {views}.")
        if status == 405:
            text = _("The lab is asked by GET alone, and takes uploads by POST. Views: {views}.")
        told = text.format(views=", ".join(VIEWS))
        allowed = getattr(error, "headers", None)
        return Response(told, status, headers=allowed, media_type="text/plain")


async def _broken(request: Request, error: Any) -> Response:
    with use(_language(request)):
        text = _("Something went wrong in the lab itself: the terminal that it runs in says what.")
        # Starlette sends this from outside the guard.
        safe = {name.decode(): value.decode() for name, value in HEADERS}
        return Response(text, 500, headers=safe, media_type="text/plain")
