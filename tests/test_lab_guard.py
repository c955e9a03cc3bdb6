"""The lab and those who mean it harm: hosts, origins, markup, paths, uploads, endless numbers."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from starlette.testclient import TestClient

from halfulp.errors import HalfulpError
from halfulp.lab.app import make_app
from halfulp.lab.server import bound, hosts_of
from halfulp.lab.uploads import MOST_BYTES, MOST_KEPT
from halfulp.lab.views import VIEWS

pytestmark = pytest.mark.extra

HOST = "127.0.0.1:8765"
SECONDS = 2  # that no request takes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs").resolve()


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    app = make_app(hosts_of("127.0.0.1", 8765), folder)
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as made:
        made.headers["accept-language"] = "en"
        for view in VIEWS:  # what is imported once
            made.get(f"/{view}")
        yield made


class Page(HTMLParser):
    """The tags of a page, and what its alerts say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.alert, self._open = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs).get("role") == "alert" and "hidden" not in dict(attrs)

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        self.alert += data if self._open else ""


def alert_of(response: Any) -> str:
    assert response.status_code == 200, response.text[:500]
    return Page(response.text).alert.strip()


def url(view: str, **fields: str) -> str:
    return f"/{view}?{urlencode(fields)}"


# Who may ask.


def test_it_listens_on_the_loopback_unless_told() -> None:
    with bound("127.0.0.1", 0) as here:
        assert here.getsockname()[0] == "127.0.0.1"
        with pytest.raises(HalfulpError, match=r"cannot listen on 127\.0\.0\.1 port"):
            bound("127.0.0.1", here.getsockname()[1])
    with pytest.raises(HalfulpError, match="give another --port"):
        bound("127.0.0.1", 99999)
    assert hosts_of("127.0.0.1", 80) >= {"127.0.0.1", "127.0.0.1:80", "localhost"}
    assert "evil.example:8765" not in hosts_of("0.0.0.0", 8765)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:8766", "localhost.:8765",
     "127.0.0.1:8765.evil.example", "127.0.0.1:8765@evil.example", "", "[::1]:8765"],
)  # fmt: skip
def test_foreign_hosts_are_refused(client: TestClient, host: str) -> None:
    for path in ("/bits", "/static/lab.js", "/none"):
        answer = client.get(path, headers={"host": host})
        assert (answer.status_code, answer.text.count("\n")) == (421, 1)
        assert "content-security-policy" in answer.headers


def test_its_own_names_are_taken(client: TestClient) -> None:
    for host in (HOST, "localhost:8765", "LOCALHOST:8765"):
        assert client.get("/bits", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://127.0.0.1:8765", "null", "http://127.0.0.1:1", "x"]
)
def test_foreign_origins_are_refused(client: TestClient, origin: str) -> None:
    assert client.get("/bits", headers={"origin": origin}).status_code == 403
    assert client.post("/upload", content=b"x", headers={"origin": origin}).status_code == 403


def test_other_sites_may_link_but_not_ask(client: TestClient) -> None:
    site = {"sec-fetch-site": "cross-site"}
    link = site | {"sec-fetch-mode": "navigate"}
    assert client.get("/bits", headers=link).status_code == 200
    assert client.get("/bits", headers=site | {"sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.post("/upload", content=b"x", headers=link).status_code == 403


# What a page may do.


@pytest.mark.parametrize("view", VIEWS)
def test_pages_hold_no_inline_script(client: TestClient, view: str) -> None:
    answer = client.get(f"/{view}")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    for name in ("x-content-type-options", "referrer-policy", "cross-origin-resource-policy"):
        assert name in answer.headers
    for tag, attributes in Page(answer.text).tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        if tag == "script":
            assert attributes.get("type") == "application/json" or attributes.get("src")
        for name in ("src", "href", "action"):
            assert re.match(r"(/(?!/)|#|$)", attributes.get(name) or ""), (tag, attributes)


def test_every_answer_has_the_policy(client: TestClient) -> None:
    for path in ("/", "/none", "/bits/none", "/static/none", "/static/plotly.js", "/upload"):
        assert "content-security-policy" in client.get(path).headers, path
    assert client.get("/none").status_code == 404
    assert "has no such page" in client.get("/none").text
    assert client.post("/bits").status_code == 405


HOSTILE = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'><svg onload=alert(1)>",
    "</script><script>alert(1)</script>", "{{7*7}}{% raw %}", "javascript:alert(1)",
    "x\r\nSet-Cookie: a=b", "\x00", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "%00%ff", "../../etc/passwd", "a" * 10_000, "１２", "𝟏", "\u202e1",
)  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
def test_markup_in_every_field_is_text(client: TestClient, view: Any, language: str) -> None:
    plain = {tag for tag, _ in Page(client.get(f"/{view.name}").text).tags}
    for name in (*view.defaults, *view.keys, "unknown", "lang"):
        for text in HOSTILE:
            link = url(view.name, **{"lang": language, name: text})
            for headers in ({}, {"hx-request": "true"}):
                answer = client.get(link, headers=headers)
                assert answer.status_code in (200, 303, 414), (name, text, answer.text[:300])
                assert "set-cookie" not in answer.headers
                page = Page(answer.text)
                found = {tag for tag, _ in page.tags} - plain
                assert not found & {"script", "img", "svg"} or text not in answer.text
                assert all(not any(k.startswith("on") for k in a) for _, a in page.tags)
                assert page.alert.count("\n") == 0
                assert "49" not in page.alert or "{{7*7}}" not in text


# Runs: only files of the folder.


def test_only_the_folder_is_read(client: TestClient, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.db"
    sqlite3.connect(outside).execute("CREATE TABLE secret (x)")
    (folder / "link.db").symlink_to(outside)
    (folder / "deep").mkdir()
    sqlite3.connect(folder / "deep" / "in.db").execute("CREATE TABLE x (x)")
    (folder / "folder.db").mkdir()
    os.mkfifo(folder / "pipe.db")
    for name in (
        "../secret.db", str(outside), "link.db", "deep/in.db", "folder.db", "pipe.db",
        "..%2fsecret.db", "x\x00.db", ".", "", "nothing.db",
    ):  # fmt: skip
        if name:
            assert "there is no run" in alert_of(client.get(url("runs", run=name))), name
            assert "no" in alert_of(client.get(url("scale", source=f"run:{name}"))), name
    listed = client.get("/runs").text
    assert "secret" not in listed
    assert "link.db" not in listed


def test_damaged_runs_are_a_sentence(client: TestClient, folder: Path) -> None:
    for name, data in {
        "text.db": b"hello", "empty.db": b"", "zeros.db": bytes(4096),
        "cut.json": b'{"target": "digi', "deep.json": b"[" * 100_000, "list.json": b"[1, 2]",
        "wrong.json": json.dumps({"target": 1, "seeds": 2, "steps": "x", "metric": 0,
                                  "recipes": [3]}).encode(),
        "empty.json": b"{}", "<b>bold.json": b"{}", "latin.json": b"\xff\xfe",
    }.items():  # fmt: skip
        (folder / name).write_bytes(data)
        answer = client.get(url("runs", run=name))
        assert alert_of(answer), name
        assert "<b>bold" not in answer.text
    sqlite3.connect(folder / "other.db").execute("CREATE TABLE x (x)")
    assert "no log" in alert_of(client.get(url("runs", run="other.db")))
    with (folder / "big.json").open("wb") as big:
        big.truncate(100 << 20)  # it takes no place on the disk
    assert "bytes" in alert_of(client.get(url("runs", run="big.json")))


# Uploads.


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    body = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + data


DICT = "{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"PK\x03\x04" + bytes(64), b"\x80\x04\x95" + bytes(64),
        npy(np.array([{}, []], object)), npy(np.zeros(3, [("a", "f4")])), npy(np.arange(4)),
        npy(np.zeros(4, complex)), npy(np.zeros(8, np.float32))[:-1],
        npy(np.zeros(8, np.float32)) + b"\0",
        header(DICT.format(descr="'<f4'", shape="(1 << 40,)")),
        header(DICT.format(descr="'<f4'", shape=f"({1 << 40},)")),
        header(DICT.format(descr="'<f4'", shape=f"({1 << 33}, {1 << 33}, 0)")),
        header(DICT.format(descr="'<f4'", shape="(-1,)"), bytes(4)),
        header(DICT.format(descr="'|O'", shape="(1,)"), bytes(8)),
        header("[" * 10_000), header("__import__('os').system('true')"),
        b"\x93NUMPY\x03\x00" + (1 << 31).to_bytes(4, "little") + bytes(100),
    ],
)  # fmt: skip
def test_uploads_that_are_no_arrays(client: TestClient, data: bytes) -> None:
    answer = client.post("/upload", content=data)
    assert answer.status_code == 400
    assert answer.text.strip().count("\n") == 0
    assert 10 < len(answer.text) < 400


def test_an_upload_says_how_long_it_is(client: TestClient) -> None:
    chunked = client.post("/upload", content=iter([npy(np.zeros(4, np.float32))]))
    assert (chunked.status_code, "Content-Length" in chunked.text) == (400, True)


def test_what_is_announced_takes_no_memory(client: TestClient) -> None:
    big = header(DICT.format(descr="'<f4'", shape=f"({(MOST_BYTES - 128) // 4},)"))
    tracemalloc.start()
    for length in (str(10 << 30), "9" * 30, "-1", "1e3", str(MOST_BYTES + 1)):
        answer = client.post("/upload", content=big, headers={"content-length": length})
        assert answer.status_code == 400, length
    shape = header(DICT.format(descr="'<f4'", shape=f"({1 << 40},)"))
    assert client.post("/upload", content=shape + bytes(1 << 20)).status_code == 400
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_an_upload_is_looked_at_and_goes(client: TestClient) -> None:
    found = client.post("/upload", content=npy(np.float32([2.0**-30, 1.0, 0.0])))
    link = url("scale", source=f"upload:{found.text}", scale="1", formats="float16")
    text = client.get(link).text
    assert 'data-zero="1"' in text
    assert 'data-nonzero="2"' in text
    for i in range(MOST_KEPT):
        assert client.post("/upload", content=npy(np.full(4, i, np.float32))).status_code == 200
    assert "upload it again" in alert_of(client.get(link))


# Numbers without end: each answered within two seconds, or refused in a sentence.

ENDLESS = (
    "1e999999999", "1e19999", "-1e-19999", "9" * 399, "0." + "3" * 390, "1/" + "7" * 390,
    "2^-99999", "2^19999", "1/1/1/1", "0x" + "f" * 390, "0b" + "1" * 390, "0x1p-19999",
    "1e-400", "inf", "nan", "-0", "1e308", "3/" + str(10**200 + 357),
)  # fmt: skip
WIDE = ("e16m112", "e16m0", "e1m112", "ue16m112", "p3109_k16p1se", "e11m52", "float8_e8m0fnu")


def check_quick(client: TestClient, link: str) -> None:
    for path in (link, link.replace("?", "/export?", 1)):
        start = time.process_time()  # of all threads: a busy machine changes nothing
        answer = client.get(path)
        took = time.process_time() - start
        assert answer.status_code == 200, (path, answer.text[:300])
        assert took < SECONDS, (path, took)


@pytest.mark.parametrize("x", ENDLESS)
def test_no_number_takes_long(client: TestClient, x: str) -> None:
    client.get("/walk")  # what compiles once
    for target in ("float16", *WIDE):
        check_quick(client, url("bits", x=x, format=target))
        check_quick(client, url("operate", a=x, b="1/3", a_format=target, b_format="float64"))
        check_quick(client, url("formats", name=target))
    check_quick(client, url("convert", x=x, via=",".join(["float64"] * 7), to="e16m112"))
    check_quick(client, url("convert", x=x, via="", to="e16m112", rounding="to_odd"))
    for base in ("2", "3", "36"):
        check_quick(client, url("base", x=x, **{"from": "10", "to": base}))
        check_quick(client, url("base", x=x, **{"from": "36", "to": base}, turn="1"))
    check_quick(client, url("scale", scale=x, keep=x))
    check_quick(client, url("scale", formats=",".join(WIDE), keep="1/3"))


@pytest.mark.parametrize("target", ["float64", "float16", "e11m52", "e16m112", "float4_e2m1fn"])
@pytest.mark.parametrize(
    ("weight", "gradient"),
    [("1", "1e-17"), ("-1", "1e-3"), ("1e19999", "1"), ("1/3", "1/7"), ("5e-324", "5e-324"),
     ("-1e-10", "3e-14"), ("1e-19999", "1e-19999"), ("0", "0")],
)  # fmt: skip
def test_no_walk_takes_long(client: TestClient, target: str, weight: str, gradient: str) -> None:
    for steps in ("1", "1001", "10000"):
        fields = {"weight": weight, "gradient": gradient, "format": target, "steps": steps}
        check_quick(client, url("walk", **fields))
        check_quick(client, url("walk", **fields, rate="1e-3", gradient_format="float32"))
        check_quick(client, url("walk", **fields, share="5"))


def test_links_have_an_end(client: TestClient) -> None:
    assert client.get("/bits?" + "x" * 10_000).status_code == 414
    assert client.get(url("bits", x="1" * 401)).status_code == 200
    assert "characters" in alert_of(client.get(url("bits", x="1" * 401)))
    many = "&".join(f"a{i}=1" for i in range(500))
    assert client.get(f"/bits?{many}&x=1&x=2").status_code == 200
    assert client.get("/bits?x=%ff%fe%00").status_code == 200
