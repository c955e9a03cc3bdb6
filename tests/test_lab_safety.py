"""The lab as a server on a socket, and files that mean it harm: what test_lab_guard does not ask."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from halfulp.errors import HalfulpError
from halfulp.lab import rendering, server
from halfulp.lab.app import make_app
from halfulp.lab.uploads import MOST_BYTES, MOST_KEPT, Uploads
from halfulp.lab.views import VIEWS
from halfulp.runs.log import VERSION, LogWriter
from test_lab_guard import HOST, SECONDS, Page, alert_of, npy, url
from test_runs import ABOUT, written

pytestmark = pytest.mark.extra

MARKUP = "</script><script>alert(1)</script>\"'>{{7*7}}"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that is as it should be."""
    path = tmp_path_factory.mktemp("log") / "run.db"
    written(path, samples=4).close()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "runs"
    made.mkdir()
    return made


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    app = make_app(server.hosts_of("127.0.0.1", 8765), folder)
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as made:
        made.headers["accept-language"] = "en"
        yield made


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a lab that is served as the command serves it."""
    with server.bound(server.LOOPBACK, 0) as listening:
        listening.listen()
        serving = server.server_on(listening, tmp_path_factory.mktemp("runs").resolve())
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        serving.should_exit = True
        thread.join()


def said(port: int, *parts: bytes, ends: bool = False) -> bytes:
    """All that a server answers to bytes, until it hangs up; ``ends`` says that we do before."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, suppress(OSError):
        for part in parts:
            raw.sendall(part)
        if ends:
            raw.shutdown(socket.SHUT_WR)
        while piece := raw.recv(1 << 16):
            found += piece
    return found


def status_of(answer: bytes) -> int:
    return int(answer.split(None, 2)[1])


def request(port: int, line: str = "GET /bits", *headers: str, host: bool = True) -> bytes:
    """One request in full."""
    names = [f"Host: 127.0.0.1:{port}"] if host else []
    return "\r\n".join([f"{line} HTTP/1.1", *names, *headers, "", ""]).encode("latin-1")


# The address it is served at.


def test_it_is_bound_to_the_loopback_alone(port: int) -> None:
    answer = said(port, request(port, "GET /bits", "Connection: close"))
    assert status_of(answer) == 200
    with pytest.raises(ConnectionRefusedError):  # the rest of 127.0.0.0/8 is this machine as well
        socket.create_connection(("127.0.0.2", port), timeout=1).close()


def test_every_interface_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bound_at = []
    original = server.bound
    monkeypatch.setattr(
        server, "bound", lambda host, port: bound_at.append(host) or original("127.0.0.1", port)
    )
    monkeypatch.setattr(server.uvicorn.Server, "run", lambda self, sockets: None)
    server.serve(0, folder, browser=False)
    server.serve(0, folder, host="0.0.0.0", browser=False)
    assert bound_at == ["127.0.0.1", "0.0.0.0"]
    assert "http://127.0.0.1:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "headers",
    [
        [], ["Host:"], ["Host: evil.example"], ["Host: 127.0.0.1"], ["Host: localhost.:{port}"],
        ["Host: 127.0.0.1:{port}.evil.example"], ["Host: user@127.0.0.1:{port}"],
        ["Host: 127.0.0.1:{port}", "Host: 127.0.0.1:{port}"],
        ["Host: 127.0.0.1:{port}", "Host: evil.example"], ["Host: 127.0.0.1:{port}, evil.example"],
        ["Host: 127.0.0.1:0{port}"], ["X-Forwarded-Host: 127.0.0.1:{port}"],
    ],
)  # fmt: skip
def test_hosts_on_the_wire(port: int, headers: list[str]) -> None:
    lines = [header.format(port=port) for header in headers]
    answer = said(port, request(port, "GET /bits", *lines, "Connection: close", host=False))
    assert status_of(answer) in (400, 421), answer[:200]
    assert b"<html" not in answer


def test_a_host_in_other_letters_is_the_same(port: int) -> None:
    line = f"hOsT: LOCALhost:{port}"
    answer = said(port, request(port, "GET /bits", line, "Connection: close", host=False))
    assert status_of(answer) == 200


def test_a_request_without_a_host_as_of_old(port: int) -> None:
    assert status_of(said(port, b"GET /bits HTTP/1.0\r\n\r\n")) == 421


@pytest.mark.parametrize("site", ["same-site", "cross-site", "x", "SAME-ORIGIN"])
@pytest.mark.parametrize("mode", ["cors", "no-cors", "websocket", "", "same-origin"])
def test_pages_of_others_get_nothing(client: TestClient, site: str, mode: str) -> None:
    headers = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", site)]
    for more in (
        [],
        [("sec-fetch-mode", mode)],
        [("sec-fetch-mode", mode), ("hx-request", "true")],
    ):
        assert client.get("/bits", headers=[*headers, *more]).status_code == 403
        assert client.get("/bits", headers=[headers[1], *more]).status_code == 403


def test_two_origins_are_no_way_round(client: TestClient) -> None:
    own, other = ("origin", f"http://{HOST}"), ("origin", "http://evil.example")
    assert client.get("/bits", headers=[own]).status_code == 200
    assert client.get("/bits", headers=[own, other]).status_code == 403
    assert client.get("/bits", headers=[other, own]).status_code == 403


def test_no_other_origin_may_read(client: TestClient) -> None:
    answer = client.get("/bits")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


# What every answer has.


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    for path in ("/bits", "/walk/export", "/static/lab.js", "/"):
        answer = client.request(method, path)
        assert (answer.status_code, "GET" in answer.headers["allow"]) == (405, True)
        assert "by GET alone" in answer.text
    if method != "POST":
        assert client.request(method, "/upload").status_code == 405
    assert client.get("/upload").status_code == 405


def test_what_breaks_is_a_sentence_under_the_policy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "render", lambda *args, **more: 1 // 0)
    app = make_app(server.hosts_of("127.0.0.1", 8765), folder)
    with TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False) as client:
        answer = client.get("/bits")
    assert answer.status_code == 500
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivision" not in answer.text
    assert "the terminal" in answer.text


@pytest.mark.parametrize("language", ["zh", "zh-CN,zh;q=0.9", "q=;,;;q", "*", "\xff", "a" * 9000])
def test_any_language_is_answered(client: TestClient, language: str) -> None:
    header = {"accept-language": language.encode("latin-1")}
    for path in ("/bits", "/none", "/walk?steps=x", "/base/export"):
        answer = client.get(path, headers=header)
        assert answer.status_code in (200, 404)


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/", "//evil.example/bits", "//evil.example/bits/", "/bits/", "/%2e%2e/bits",
        "/static/..%2f..%2fapp.py", "/static/%2e%2e/app.py", "/static/../app.py", "/\\evil.example",
        "/bits/export/", "/%00", "/bits%0d%0aX-A:%20b", "/bits%0d%0aX-A:%20b/", "/static/",
        "http://evil.example/bits", "/?x=%0d%0aX-A:%20b", "/" + "a" * 30_000, "*", "bits",
    ],
)  # fmt: skip
def test_no_path_leads_elsewhere(port: int, path: str) -> None:
    answer = said(port, request(port, f"GET {path}", "Connection: close"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) in (200, 307, 400, 404), head
    assert not re.search(rb"(?im)^x-a:", head)
    to = re.search(rb"(?im)^location: (\S*)", head)
    own = rb"(http://127\.0\.0\.1:%d)?/(?!/)" % port
    assert not to or re.match(own, to[1]), head
    assert b"import" not in body


def test_buttons_that_lead_elsewhere_stay_here(client: TestClient) -> None:
    for code in (
        "float16:0x3c00",
        "//evil.example",
        "x\r\nSet-Cookie: a=b",
        MARKUP,
        "javascript:1",
    ):
        link = url("formats", code=code)
        found = [client.get(link), client.get(link.replace("?", "/export?", 1))]
        part = client.get(link, headers={"hx-request": "true"})
        assert [answer.status_code for answer in (*found, part)] == [303, 303, 200]
        for to in (*(answer.headers["location"] for answer in found), part.headers["hx-redirect"]):
            assert to.startswith("/bits?x=")
            assert not set(to) & set("\r\n<>\"' ")
            assert client.get(to).status_code == 200
        assert "set-cookie" not in part.headers


def test_the_address_that_htmx_pushes_is_one_line(client: TestClient) -> None:
    for view in VIEWS.values():
        for name in view.defaults:
            text = "1\r\nSet-Cookie: a=b\r\n\r\n<script>"
            answer = client.get(url(view.name, **{name: text}), headers={"hx-request": "true"})
            pushed = answer.headers.get("hx-push-url", "/")
            assert re.fullmatch(r"/[\w%.+=&?,~-]*", pushed), pushed
            assert "set-cookie" not in answer.headers
            assert "<script>" not in answer.text.replace('<script type="application/json">', "")


def test_saved_pages_hold_no_script_but_ours(client: TestClient) -> None:
    own = {rendering.script(), str(rendering._plotly())}
    for view in VIEWS.values():
        fields = dict.fromkeys(view.defaults, MARKUP)
        for link in (f"/{view.name}/export", url(f"{view.name}/export", **fields)):
            answer = client.get(link)
            assert answer.headers["content-disposition"].startswith("attachment; ")
            scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
            assert {script.strip() for script in scripts} <= {script.strip() for script in own}
            assert "<script>alert" not in answer.text
            assert not re.search(
                r"<[^>]*\son\w+=", re.sub(r"(?s)<script.*?</script>", "", answer.text)
            )


def test_many_and_odd_parameters(client: TestClient) -> None:
    for query in (
        "&" * 4000, "=" * 4000, "a&" * 2000, "x=" * 1000, "&".join(f"x={i}" for i in range(600)),
        "x=%", "x=%zz", "x=%ff%fe", "%ff=%ff", "x=%ed%a0%80", "x=1;format=float16", "x[]=1", "x=+1",
        "lang=zh&lang=en&lang=<script>", "flip=0&step=1&go=1&into=float32&places=0.1&to=1",
        "open=x&poll=1", "poll=", "share=nan", "share=1e999", "power=", "turn=", "code=", "format=",
    ):  # fmt: skip
        for view in VIEWS:
            answer = client.get(f"/{view}?{query}", headers={"hx-request": "true"})
            assert answer.status_code == 200, (view, query[:50], answer.text[:300])
    assert client.get("/bits?" + "x" * 4097).status_code == 414


# Uploads on the wire.


def upload(port: int, body: bytes, *headers: str, ends: bool = False) -> bytes:
    line = request(port, "POST /upload", "Connection: close", *headers)
    return said(port, line, body, ends=ends)


def test_uploads_of_the_wrong_length(port: int) -> None:
    data = npy(np.zeros(64, np.float32))
    length = f"Content-Length: {len(data)}"
    assert status_of(upload(port, data, length)) == 200
    assert status_of(upload(port, data)) == 400
    assert b"Content-Length" in upload(port, data)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
    assert status_of(upload(port, chunked, "Transfer-Encoding: chunked")) == 400
    both = upload(port, chunked, "Transfer-Encoding: chunked", "Content-Length: 3")
    assert status_of(both) == 400
    twice = upload(port, data, length, "Content-Length: 5")
    assert status_of(twice) == 400
    longer = upload(port, data + b"GET /bits", length)  # no second request, and no part of it
    assert longer.count(b"HTTP/1.1") == 1
    assert status_of(said(port, request(port, "GET /bits", "Connection: close"))) == 200


def test_an_upload_that_ends_early_leaves_the_server_up(port: int) -> None:
    data = npy(np.zeros(1 << 16, np.float32))
    for sent in (0, 5, 200, 70_000):
        length = f"Content-Length: {len(data)}"
        assert b"200 OK" not in upload(port, data[:sent], length, ends=True)
    assert status_of(said(port, request(port, "GET /bits", "Connection: close"))) == 200


def test_what_is_too_large_is_said_before_it_is_sent(port: int) -> None:
    for length in (MOST_BYTES + 1, 10 << 30, 10**14):
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.putrequest("POST", "/upload")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, str(MOST_BYTES) in answer.read().decode()) == (400, True)
        connection.close()


@pytest.mark.parametrize("data", [npy(np.arange(1 << 18)), bytes(MOST_BYTES + 1)], ids=len)
def test_who_sends_a_wrong_upload_reads_why(port: int, data: bytes) -> None:
    """The rest is taken off the wire: a connection that is reset would lose the sentence."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/upload", data)
    answer = connection.getresponse()
    assert (answer.status, b"allowed are" in answer.read() or len(data) > MOST_BYTES) == (400, True)
    connection.close()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_is_not_taken_for_what_is_announced(port: int) -> None:
    before = resident()
    peers = []
    for _ in range(20):
        raw = socket.create_connection(("127.0.0.1", port), timeout=5)
        raw.sendall(request(port, "POST /upload", f"Content-Length: {MOST_BYTES}") + bytes(100))
        peers.append(raw)
    time.sleep(0.2)
    assert resident() - before < 32 << 20  # 320 MiB were announced
    for raw in peers:
        raw.close()


def resident() -> int:
    with open("/proc/self/statm") as about:
        return int(about.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_uploads_are_few_and_safe_among_threads() -> None:
    uploads = Uploads()
    failed = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                name = uploads.add(npy(np.full(4, number * 100 + i + 1, np.float32)))
                with suppress(HalfulpError):  # others were faster
                    uploads.get(name)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(uploads._kept) == MOST_KEPT


def test_versions_of_npy_and_dialects_of_floats(client: TestClient) -> None:
    for dtype in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
        for version in ((1, 0), (2, 0), (3, 0)):
            out = io.BytesIO()
            np.lib.format.write_array(out, np.array([1.5, -2.0], dtype), version=version)
            answer = client.post("/upload", content=out.getvalue())
            assert answer.status_code == 200, (dtype, version, answer.text)
    assert re.fullmatch(r"[0-9a-f]{16}", answer.text)
    assert answer.headers["content-type"].startswith("text/plain")


# Files of the folder.


def changed(good: Path, to: Path, *statements: str) -> Path:
    shutil.copy(good, to)
    with sqlite3.connect(to) as log:
        log.execute("PRAGMA journal_mode=DELETE")
        for statement in statements:
            log.execute(statement)
    log.close()
    return to


def asked(client: TestClient, name: str) -> list[str]:
    """What the views say of a file; "" where they show it."""
    found = []
    for link in (
        url("runs", run=name), url("runs", run=name, poll="1"), url("scale", source=f"run:{name}"),
    ):  # fmt: skip
        answer = client.get(link)
        assert answer.status_code == 200, (link, answer.text[:200])
        alert = Page(answer.text).alert.strip()
        assert "\n" not in alert
        assert "Traceback" not in answer.text
        assert client.get(link.replace("?", "/export?", 1)).status_code == 200
        found.append(alert)
    return found


def test_a_log_is_shown(client: TestClient, folder: Path, good: Path) -> None:
    shutil.copy(good, folder / "run.db")
    assert asked(client, "run.db") == ["", "", ""]
    assert str(folder) not in client.get(url("runs", run="run.db")).text


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (f"PRAGMA user_version={VERSION + 1}", "reads version"), ("PRAGMA user_version=0", "version"),
        ("PRAGMA application_id=7", "no log"), ("DROP TABLE about", "cannot be read"),
        ("DELETE FROM about", "empty log"), ("DROP TABLE samples", "cannot be read"),
        ("UPDATE about SET text = '{'", "damaged"), ("UPDATE about SET text = '[]'", "damaged"),
        (f"UPDATE about SET text = '{'[' * 100_000}'", "damaged"),
        ("UPDATE about SET text = '{\"name\": 1e999}'", "damaged"),
        ("UPDATE samples SET head = '{\"step\": []}'", "damaged"),
        ("UPDATE samples SET head = '9'", "damaged"), ("UPDATE samples SET seen = x'00'", "damaged"),
        ("UPDATE samples SET seen = 'text'", "damaged"),
        ("UPDATE samples SET binades = seen, counts = seen", "damaged"),
        ("UPDATE series SET text = '{}'", "damaged"), ("DELETE FROM series", "damaged"),
        ("UPDATE about SET text = replace(text, '\"every\": ', '\"every\": \"x\", \"every2\": ')",
         "damaged"),
    ],
)  # fmt: skip
def test_damaged_logs(
    client: TestClient, folder: Path, good: Path, statement: str, says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.CRITICAL)
    changed(good, folder / "bad.db", statement)
    alerts = asked(client, "bad.db")
    assert says in alerts[0], alerts
    assert "bad.db" in alerts[0]
    assert str(folder) not in " ".join(alerts)


def test_a_log_cut_anywhere(client: TestClient, folder: Path, good: Path) -> None:
    data = good.read_bytes()
    for end in (1, 15, 100, 1000, len(data) // 3, len(data) // 2, len(data) - 1):
        (folder / "cut.db").write_bytes(data[:end])
        alerts = asked(client, "cut.db")
        assert end > 5000 or alerts[0], end


def test_a_log_that_would_never_end(client: TestClient, folder: Path, good: Path) -> None:
    """A table may be a view, whose query has no end."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    changed(
        good, folder / "view.db", "ALTER TABLE about RENAME TO other",
        f"CREATE VIEW about AS {endless} SELECT max(i) AS text FROM n",
    )  # fmt: skip
    start = time.perf_counter()
    alerts = asked(client, "view.db")
    assert time.perf_counter() - start < 2
    assert all("no log" in alert for alert in alerts), alerts


def test_texts_of_logs_are_text(client: TestClient, folder: Path, good: Path) -> None:
    for i, text in enumerate((MARKUP, "\ud800", "{0.__class__}", "%s%n", "\x00", "\u202e")):
        about = json.loads(ABOUT.to_json(None)) | {"name": text, "optimizer": text}
        series = json.dumps({"name": text, "role": "gradient", "dtype": text}).replace("'", "''")
        named = json.dumps(about).replace("'", "''")
        changed(
            good, folder / f"{i}.db", f"UPDATE about SET text = '{named}'",
            f"UPDATE series SET text = '{series}'",
        )  # fmt: skip
        for link in (url("runs", run=f"{i}.db"), url("scale", source=f"run:{i}.db")):
            for whole in (link, link + "&lang=zh", link.replace("?", "/export?", 1)):
                answer = client.get(whole)
                assert answer.status_code == 200, (text, answer.text[:200])
                assert "<script>alert" not in answer.text
                assert "class 'str'" not in answer.text


COMPARISON = {
    "target": "digits", "seeds": [0], "steps": 2, "metric": "accuracy",
    "recipes": [{
        "name": "float32", "seed": 0, "loss": 1.5, "metric": 0.5, "updates": 10, "lost": 1,
        "norm_ratio": 1.0, "cosine": 1.0, "overflows": 0, "skipped": 0, "loss_scale": None,
        "bytes_per_parameter": 16.0, "seconds": 0.1, "losses": [2.0, 1.5],
    }],
}  # fmt: skip


def test_a_comparison_is_shown(client: TestClient, folder: Path) -> None:
    (folder / "good.json").write_text(json.dumps(COMPARISON))
    answer = client.get(url("runs", run="good.json"))
    assert Page(answer.text).alert == ""
    assert 'class="figure"' in answer.text


@pytest.mark.parametrize("path", [(k,) for k in COMPARISON] + [("recipes", 0, k) for k in COMPARISON["recipes"][0]])  # fmt: skip
def test_comparisons_with_wrong_types(
    client: TestClient, folder: Path, path: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    for i, odd in enumerate((None, "x", MARKUP, [], {}, [[1]], -1, 1e308, float("nan"), "\ud800")):
        value = json.loads(json.dumps(COMPARISON))
        place = value
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = odd
        name = f"{i}.json"
        (folder / name).write_text(json.dumps(value))
        for link in (url("runs", run=name), url("runs/export", run=name)):
            answer = client.get(link)
            assert answer.status_code == 200, (path, odd, answer.text[:200])
            assert "<script>alert" not in answer.text


def test_names_of_files_are_text(client: TestClient, folder: Path, good: Path) -> None:
    names = ["<b>x.db", "a'b\"c.db", "-x.db", "--help.db", "{{7*7}}.db", "a&b.db", " .db", "日本.db",
             "new\nline.db", "%2e%2e.db", "x\u202e.db"]  # fmt: skip
    for name in names:
        shutil.copy(good, folder / name)
    Path(os.fsdecode(os.fsencode(str(folder)) + b"/\xff\xfe.db")).write_bytes(b"x")  # no text
    for lang in ("en", "zh"):
        listed = client.get(url("runs", lang=lang)).text
        assert "<b>x" not in listed
        assert 'value="a&#39;b&#34;c.db"' in listed
        for name in names:
            found = client.get(url("runs", open=name, lang=lang), headers={"hx-request": "true"})
            assert Page(found.text).alert == "", name
            assert found.headers["hx-push-url"].count("\n") == 0
            assert client.get(url("scale", source=f"run:{name}", lang=lang)).status_code == 200
    assert client.get("/runs?run=%ff%fe.db").status_code == 200


def test_nothing_leads_out_of_the_folder(client: TestClient, folder: Path, good: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    shutil.copy(good, outside / "secret.db")
    (folder / "dir.db").symlink_to(outside)
    (folder / "file.db").symlink_to(outside / "secret.db")
    (folder / "self.db").symlink_to(folder / "self.db")  # a loop
    (folder / "gone.db").symlink_to(folder / "none")
    (folder / "hard.db").symlink_to("/dev/zero")
    (folder / "sub").symlink_to(outside)
    os.mkfifo(folder / "pipe.json")
    (folder / "socket.db").mkdir()
    for name in (
        "dir.db", "file.db", "self.db", "gone.db", "hard.db", "sub/secret.db", "dir.db/secret.db",
        "pipe.json", "socket.db", "../outside/secret.db", str(outside / "secret.db"),
        f"{folder}/../outside/secret.db", "file:secret.db", "secret.db?mode=rw", "\x00", "x" * 390,
    ):  # fmt: skip
        start = time.perf_counter()
        for link in (url("runs", run=name), url("scale", source=f"run:{name}")):
            assert "there is no run" in alert_of(client.get(link)), name
        assert time.perf_counter() - start < 1
    assert "secret" not in client.get("/runs").text


def test_a_folder_that_goes_away(client: TestClient, folder: Path, good: Path) -> None:
    shutil.copy(good, folder / "run.db")
    assert asked(client, "run.db") == ["", "", ""]
    shutil.rmtree(folder)
    assert client.get("/runs").status_code == client.get("/scale").status_code == 200
    assert "there is no run" in alert_of(client.get(url("runs", run="run.db")))


def test_a_log_that_is_written_is_not_changed(client: TestClient, folder: Path) -> None:
    writer: LogWriter = written(folder / "open.db", samples=3)
    before = sorted(path.name for path in folder.iterdir())
    assert asked(client, "open.db") == ["", "", ""]
    assert sorted(path.name for path in folder.iterdir()) == before
    writer.close()


# Numbers that take long, in any mixture; those of test_lab_guard one by one.

LONG = (
    "255^-20000", "3^-20000/255^20000", "1e-19999/7^19999", "7^19999/3^19999", "9" * 390 + "^-20000",
    "9" * 390 + "^20000", "1e20000/7^20000", "2^-20000", "e16m112b-65536:0x7ffe" + "f" * 28,
    "e16m112b65536:1", f"1/{10**390 + 1}", f"-{10**190 + 9}/{10**200 + 357}", "1/1999", "1.125", "0.1",
    "-0", "nan", "0x" + "f" * 300 + "p-19999", "1e999999999", "65504", "5e-324",
)  # fmt: skip
ODD = (
    "float16", "float64", "e16m112", "e16m112b65536", "e16m112b-65536", "e16m0b-65536", "e1m112",
    "ue16m0fn_nozero", "e16m112_nosub", "p3109_k16p1se", "float8_e5m2fnuz", "e4m3b7_nosub",
)  # fmt: skip
NUMBERS = {"x", "a", "b", "weight", "gradient", "rate", "scale", "keep", "code", "go"}
FORMATS = {"format", "a_format", "b_format", "in", "gradient_format", "into", "open"}
LISTS = {"via", "to", "formats", "name"}


def mixed(view: str) -> st.SearchStrategy[dict[str, str]]:
    """Fields and buttons of a view with what takes long."""
    found = VIEWS[view]
    values: dict[str, st.SearchStrategy[str]] = {}
    for name in (*found.defaults, *found.keys):
        if view == "base" and name in ("from", "to"):
            values[name] = st.integers(2, 36).map(str)
        elif name in NUMBERS:
            values[name] = st.sampled_from(LONG)
        elif name in FORMATS:
            values[name] = st.sampled_from(("", "none", *ODD))
        elif name in LISTS:
            values[name] = st.lists(st.sampled_from(ODD), max_size=12).map(",".join)
        elif name == "steps":
            values[name] = st.sampled_from(("10000", "999"))
        elif name in ("share", "step", "turn", "power"):
            values[name] = st.sampled_from(("0", "6", "-6", "1000000"))
    return st.fixed_dictionaries({}, optional=values)


@pytest.mark.parametrize("view", [name for name in VIEWS if name != "runs"])
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_mixture_takes_long(client: TestClient, view: str, data: st.DataObject) -> None:
    fields = data.draw(mixed(view))
    for path in (view, f"{view}/export"):
        start = time.process_time()
        answer = client.get(url(path, **fields))
        took = time.process_time() - start
        assert answer.status_code in (200, 303), answer.text[:300]
        assert took < SECONDS, (took, fields)
