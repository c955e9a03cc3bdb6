"""Serving the lab on this machine, and opening it in the browser."""

from __future__ import annotations

import socket
import threading
import webbrowser
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import uvicorn

from halfulp.errors import HalfulpError
from halfulp.lab.app import make_app
from halfulp.language import translate as _

LOOPBACK = "127.0.0.1"


def serve(port: int, runs: Path, *, host: str = LOOPBACK, browser: bool = True) -> None:
    """Serve until interrupted. Port 0 takes any that is free.

    Raises HalfulpError where the address cannot be taken.
    """
    with bound(host, port) as listening:
        address = f"{_named(host)}:{listening.getsockname()[1]}"
        server = server_on(listening, runs, host)
        print(f"halfulp lab: http://{address}/  (Ctrl-C ends it)", flush=True)
        if any(runs.glob("*.json")):
            preparing = threading.Timer(1.0, _prepare)
            preparing.daemon = True
            preparing.start()
        if browser:
            threading.Timer(0.3, webbrowser.open, [f"http://{address}/"]).start()
        server.run(sockets=[listening])


def _prepare() -> None:
    """Import what comparisons need before one is asked for: torch takes seconds, once."""
    with suppress(HalfulpError):
        import_module("halfulp.training.comparison")


def server_on(listening: socket.socket, runs: Path, host: str = LOOPBACK) -> uvicorn.Server:
    """What serves the lab on a bound socket once it is run."""
    app = make_app(hosts_of(host, listening.getsockname()[1]), runs)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, date_header=False,
        lifespan="off", timeout_graceful_shutdown=2, limit_concurrency=200,
    )  # fmt: skip
    return uvicorn.Server(config)


def hosts_of(host: str, port: int) -> frozenset[str]:
    """The Host headers that are this server's."""
    names = {host, _named(host)} if host != LOOPBACK else {LOOPBACK, "localhost"}
    if host in ("0.0.0.0", "::"):
        names |= {LOOPBACK, "localhost", "[::1]", socket.gethostname().lower()}
    ports = {f":{port}"} | ({""} if port == 80 else set())
    return frozenset(f"{name.lower()}{end}" for name in names for end in ports)


def _named(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, which is let go where it is closed.

    Raises HalfulpError where the address cannot be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)  # from here on who asks waits for the server, and is not refused
    except (OSError, OverflowError) as error:
        listening.close()
        raise HalfulpError(
            _(
                "the lab cannot listen on {host} port {port}: {error}; give another --port, or "
                "0 for any that is free"
            ).format(host=host, port=port, error=error)
        ) from error
    return listening
