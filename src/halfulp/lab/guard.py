"""Who may ask: pages of this server alone, from the hosts it was started for.

A page anywhere on the web can make a browser send requests to the loopback; what it cannot do is
forge Host (against names that are bound to 127.0.0.1 later) and Origin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Asgi = Callable[
    [Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]

# Scripts and figures come from this server alone; plotly writes its styles into elements.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
LONGEST_QUERY = 4096


class Guard:
    """Refuses foreign hosts and origins, and sends what keeps a browser from trusting others."""

    def __init__(self, app: Asgi, hosts: frozenset[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        refused = self._refused(scope)
        if refused is None:
            await self.app(scope, receive, answer)
        else:
            status, sentence = refused
            await PlainTextResponse(sentence + "\n", status)(scope, receive, answer)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        given: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            given.setdefault(name, []).append(value.decode("latin-1"))
        hosts = given.get(b"host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "this lab answers only to the address that it was started at"
        for origin in given.get(b"origin", []):
            scheme, _, host = origin.partition("://")
            if scheme != "http" or host.lower() not in self.hosts:
                return 403, "pages of other origins may not ask this lab"
        sites = given.get(b"sec-fetch-site", [])  # a page of another port is "same-site"
        if not {*sites} <= {"same-origin", "none"} and not _is_link(scope, given):
            return 403, "pages of other origins may not ask this lab"
        if len(scope.get("query_string", b"")) > LONGEST_QUERY:
            return (
                414,
                f"the link has more than {LONGEST_QUERY} characters: it is no link of this lab",
            )
        return None


def _is_link(scope: Scope, given: dict[bytes, list[str]]) -> bool:
    """Whether somebody followed a link to a view, which only shows it."""
    return scope["method"] == "GET" and given.get(b"sec-fetch-mode", [""])[0] == "navigate"
