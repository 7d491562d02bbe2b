"""Requests that a page of a stranger makes a browser send: each is refused, and changes nothing."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from .conftest import DEADLINE_S, Begin, Site
from .test_core import changes, refusal
from .test_sessions import browser

PATH = "/api/v1/sequences/walk"


@pytest.fixture
def recorded(site: Site) -> Site:
    """Return a server whose store holds one sequence."""
    site.record("walk")
    return site


@pytest.fixture
def logged_in(recorded: Site) -> Iterator[tuple[httpx.Client, str, Site]]:
    """Return a browser that has logged in with a key that may delete, its token, and the server."""
    client, csrf = browser(recorded, recorded.key("delete"))
    with closing(client):
        yield client, csrf, recorded
        assert client.get(PATH).status_code in (200, 404)


def test_a_change_wants_the_token(logged_in: tuple[httpx.Client, str, Site]) -> None:
    """A cookie alone, a wrong token and the token of another session do nothing; the right one does it."""
    client, csrf, site = logged_in
    other, foreign = browser(site, site.key("delete"))
    other.close()
    for token in (None, "", "0" * 64, csrf[:-1], foreign):
        headers = {"Origin": site.url} if token is None else {"Origin": site.url, "X-CSRF-Token": token}
        refusal(client.delete(PATH, headers=headers), 403, "CsrfRefused")
        headers.pop("Origin")
        refusal(client.delete(PATH, headers=headers), 403, "CsrfRefused")
    assert client.get(PATH).status_code == 200
    done = client.delete(PATH, headers={"Origin": site.url, "X-CSRF-Token": csrf})
    assert done.status_code in (200, 204)
    assert client.get(PATH).status_code == 404


def test_every_change_wants_the_token(logged_in: tuple[httpx.Client, str, Site]) -> None:
    """Each route is behind the gate."""
    client, csrf, site = logged_in
    for method, path in changes(site, site.key()):
        forged = {"Origin": site.url, "X-CSRF-Token": csrf[::-1]}
        answer = client.request(method, f"/api/v1{path}", headers=forged, json={})
        refusal(answer, 403, "CsrfRefused")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://", "é", ""]
)
def test_a_page_of_another_site_is_refused_even_with_the_token(
    logged_in: tuple[httpx.Client, str, Site], origin: str
) -> None:
    """The origin is ours, port and scheme included, or nothing happens."""
    client, csrf, site = logged_in
    headers = {b"Origin": origin.encode(), b"X-CSRF-Token": csrf.encode()}
    refusal(client.request("DELETE", PATH, headers=headers), 403, "OriginRefused")
    fetched = {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": csrf}
    refusal(client.request("DELETE", PATH, headers=fetched), 403, "OriginRefused")
    https = {"Origin": site.url.replace("http:", "https:"), "X-CSRF-Token": csrf}
    refusal(client.request("DELETE", PATH, headers=https), 403, "OriginRefused")
    assert client.get(PATH).status_code == 200


def test_without_keys_a_browser_still_wants_the_token(recorded: Site) -> None:
    """Whoever is on this machine may do everything, but no page of a stranger; a program needs no token."""
    for headers in (
        {"Origin": recorded.url},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": recorded.url, "X-CSRF-Token": "0" * 64},
    ):
        refusal(recorded.api("/sequences/walk", "DELETE", headers=headers), 403, "CsrfRefused")
    csrf = recorded.api("/session").json()["csrf"]
    assert f'content="{csrf}"' in recorded.page("/").text
    done = recorded.api("/sequences/walk", "DELETE", headers={"Origin": recorded.url, "X-CSRF-Token": csrf})
    assert done.status_code in (200, 204)


def test_a_program_without_a_browser_needs_no_token(recorded: Site) -> None:
    """Neither without keys nor with a key in its header: nobody can make it send that."""
    key = recorded.key("delete")
    assert recorded.api("/sequences/walk", "DELETE", key=key).status_code in (200, 204)


def test_a_foreign_page_cannot_read_either(recorded: Site) -> None:
    """What it fetches is refused; a link on it opens the page."""
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    refusal(recorded.api("/sequences", headers=foreign), 403, "OriginRefused")
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert recorded.page("/", headers=followed).status_code == 200
    assert "access-control-allow-origin" not in recorded.api("/info").headers


def test_logging_in_from_a_foreign_page_is_refused(site: Site) -> None:
    """Else it could let somebody work in a session of the stranger's."""
    key = site.key()
    answer = site.api("/session", "POST", json={"key": key}, headers={"Origin": "https://evil.example"})
    refusal(answer, 403, "OriginRefused")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.", "0x7f.1", "", "a@127.0.0.1"],
)
def test_another_name_is_refused(site: Site, host: str) -> None:
    """A name that a stranger points here (DNS rebinding) gets nothing, pages and files included."""
    for path in ("/api/v1/info", "/", "/static/css/base.css", "/login", "/nothing"):
        answer = site.http.get(f"{site.url}{path}", headers={"Host": host})
        assert answer.status_code in (400, 403), (path, answer.text)
        if answer.status_code == 403:
            refusal(answer, 403, "HostRefused")


def test_our_names_are_answered(site: Site, begin: Begin, tmp_path: object) -> None:
    """With any port, as tunnels change it; in any case; and those that the operator gives."""
    for host in ("localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:8686"):
        assert site.http.get(f"{site.url}/api/v1/info", headers={"Host": host}).status_code == 200
    proxied = begin(site.root.parent / "other", hosts=("recorder.example.org",))
    name = {"Host": "recorder.example.org"}
    assert proxied.http.get(f"{proxied.url}/api/v1/info", headers=name).status_code == 200
    origin = {**name, "Origin": "https://recorder.example.org"}  # the proxy speaks TLS for us
    assert proxied.http.get(f"{proxied.url}/api/v1/info", headers=origin).status_code == 200


def test_on_every_address_numbers_and_the_machine_are_ours(begin: Begin) -> None:
    """A number is never the name of another site."""
    site = begin(host="0.0.0.0", insecure=True)
    for host in ("127.0.0.1", "192.168.1.5:8686", "[fe80::1]", socket.gethostname()):
        assert site.http.get(f"{site.url}/api/v1/info", headers={"Host": host}).status_code == 200
    assert site.http.get(f"{site.url}/api/v1/info", headers={"Host": "evil.example"}).status_code == 403


def handshake(site: Site, path: str, **headers: str) -> bytes:
    """Ask for a WebSocket; return the head of the answer."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {site.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    host, port = site.netloc.split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as raw:
        raw.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (piece := raw.recv(4096)):
            answer += piece
    return answer


def test_a_websocket_of_a_foreign_page_is_refused(site: Site) -> None:
    """Browsers let any page open one, with the cookie: the origin decides."""
    path = "/api/v1/live/nothing/samples"
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        answer = handshake(site, path, Origin=origin)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"content-security-policy" in answer.lower()
    assert b"403" not in handshake(site, path, Origin=site.url).split(b"\r\n")[0]
    key = site.key()
    assert handshake(site, path, Origin=site.url).startswith(b"HTTP/1.1 401 ")
    assert b"401" not in handshake(site, path, Authorization=f"Bearer {key}").split(b"\r\n")[0]
