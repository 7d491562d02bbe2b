"""What every answer says to a browser, and what is sent small."""

from __future__ import annotations

import gzip
import json
import re
import socket

import pytest

from gapless.serve.http.templates import WEB

from .conftest import DEADLINE_S, Site

POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:"
SECURITY = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("path", "status", "cache"),
    [
        ("/", 200, "no-store"),
        ("/api/v1/info", 200, "no-store"),
        ("/api/v1/openapi.json", 200, "no-store"),
        ("/static/css/base.css", 200, "no-cache"),
        ("/static/bokeh/bokeh.min.js", 200, "no-cache"),
        ("/static/nothing.css", 404, "no-store"),
        ("/static/bokeh/bokeh.js", 404, "no-store"),
        ("/nothing", 404, "no-store"),
        ("/api/v1/info?colour=red", 422, "no-store"),
        ("/api/v1/session", 200, "no-store"),
        ("/login", 303, "no-store"),
        ("/healthz", 200, "no-store"),
        ("/metrics", 200, "no-store"),
    ],
)
def test_every_answer_is_guarded(site: Site, path: str, status: int, cache: str) -> None:
    """Whatever it is; and the server does not say what it is made of."""
    answer = site.http.get(f"{site.url}{path}")
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    assert answer.headers["Cache-Control"] == cache
    assert "server" not in answer.headers
    assert answer.headers["Date"]


def test_refusals_of_the_gate_and_faults_are_guarded_too(site: Site) -> None:
    """Foreign hosts, no key, an error that nobody expected."""
    answers = [
        site.http.get(f"{site.url}/", headers={"Host": "evil.example"}),
        site.api("/info", headers={"Origin": "null"}),
    ]
    site.key()
    answers.append(site.api("/info"))
    site.server.served.store_uid = None  # type: ignore[assignment]
    answers.append(site.api("/info", key=site.key()))
    assert [answer.status_code for answer in answers] == [403, 403, 401, 500]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY


@pytest.mark.parametrize(
    "garbage", [b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000]
)  # fmt: skip
def test_what_is_no_request_gets_a_guarded_no(site: Site, garbage: bytes) -> None:
    """Its connection ends; the server goes on."""
    host, port = site.netloc.split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as peer:
        peer.sendall(garbage)
        answer = b""
        try:
            while piece := peer.recv(65536):
                answer += piece
        except ConnectionResetError:  # it closed while more was on the way
            answer = answer or b"HTTP/1.1 400 "
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 "))
    if b"\r\n\r\n" in answer:
        assert POLICY.encode() in answer
    assert site.api("/info").status_code == 200


def test_pages_load_from_here_only() -> None:
    """No template and no style names another site, and no script stands in a page."""
    faults = []
    for file in [*WEB.rglob("*.html"), *WEB.rglob("*.css")]:
        text = file.read_text(encoding="utf-8")
        if re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|url\(["']?(https?:)?//|@import""", text):
            faults.append(f"{file.name}: another site")
        if re.search(r"<script(?![^>]*\bsrc=)[^>]*>|\son[a-z]+\s*=|javascript:", text):
            faults.append(f"{file.name}: a script within the page")
    assert faults == []


def test_text_is_sent_small_to_who_takes_it(site: Site) -> None:
    """Scripts and JSON as gzip, which is a representation of its own; data as it is."""
    path = "/static/bokeh/bokeh.min.js"
    small = site.http.get(f"{site.url}{path}", headers={"Accept-Encoding": "gzip"})
    plain = site.http.get(f"{site.url}{path}", headers={"Accept-Encoding": "identity"})
    assert small.headers["Content-Encoding"] == "gzip"
    assert small.headers["Vary"] == "Accept-Encoding"
    assert small.content == plain.content
    assert small.headers["ETag"] == f"W/{plain.headers['ETag']}"
    with site.http.stream("GET", f"{site.url}{path}", headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert len(packed) < len(plain.content) / 2
    assert gzip.decompress(packed) == plain.content
    document = site.api("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert document.headers["Content-Encoding"] == "gzip"
    assert json.loads(document.text)["info"]["title"] == "gapless"
    assert "Content-Encoding" not in site.api("/info", headers={"Accept-Encoding": "gzip"}).headers


@pytest.mark.parametrize("path", ["/static/css/base.css", "/static/bokeh/bokeh.min.js"])
def test_a_file_that_the_browser_has_is_not_sent_again(site: Site, path: str) -> None:
    """It asks with the tag that it was given, of either representation."""
    for encoding in ("gzip", "identity"):
        headers = {"Accept-Encoding": encoding}
        first = site.http.get(f"{site.url}{path}", headers=headers)
        again = site.http.get(
            f"{site.url}{path}", headers={**headers, "If-None-Match": first.headers["ETag"]}
        )
        assert (again.status_code, again.content) == (304, b"")


def test_head_has_no_body(site: Site) -> None:
    """Files say how large they are."""
    answer = site.http.head(f"{site.url}/static/css/base.css", headers={"Accept-Encoding": "identity"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) == (WEB / "static" / "css" / "base.css").stat().st_size
