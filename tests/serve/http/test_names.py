"""Names in paths: each is one segment, whatever it holds, and never leaves the store."""

from __future__ import annotations

import json
import socket

import pytest

from gapless.errors import NameRefused
from gapless.serve.http.names import decoded

from .conftest import DEADLINE_S, Site
from .test_core import refusal

ODD = [
    "a/b",
    "a b",
    "100%",
    "a%2Fb",
    "ä",
    "a+b",
    "?x=1",
    "#",
    "..",
    ".",
    "a/../b",
    "\\",
    "C:\\x",
    "日本",
    "a&b=c",
]


def test_names_are_found_whatever_they_hold(site: Site) -> None:
    """Encoded once, each is the one sequence of that name."""
    for name in ODD:
        site.record(name)
    for name in ODD:
        told = raw(site, f"/api/v1/sequences/{encoded(name)}")
        assert told.startswith("HTTP/1.1 200 "), told
        assert json.loads(told.partition("\r\n\r\n")[2])["name"] == name
        assert raw(site, f"/sequences/{encoded(name)}").startswith("HTTP/1.1 200 ")


def encoded(name: str) -> str:
    """Return a name with every byte percent-encoded: no client tidies dots away then."""
    return "".join(f"%{byte:02X}" for byte in name.encode())


def raw(site: Site, target: str) -> str:
    """Send a request line as it is, which HTTP clients would tidy; return the answer."""
    host, port = site.netloc.split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as peer:
        peer.sendall(f"GET {target} HTTP/1.1\r\nHost: {site.netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := peer.recv(65536):
            answer += piece
    return answer.decode()


TRAVERSALS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "%c0%ae%c0%ae%c0%afetc",
    "%2fetc%2fpasswd",
    "....//....//etc/passwd",
    "..;/..;/etc/passwd",
    "%00",
    "a%00.css",
    "%0a",
    "%ff",
    "%ed%a0%80",
]


PLACES = ["/api/v1/sequences/", "/sequences/", "/static/", "/static/bokeh/", "/api/v1/", "/"]


@pytest.mark.parametrize("place", PLACES)
def test_no_path_leads_out(site: Site, place: str) -> None:
    """However it is written, it is refused or names nothing, and shows nothing of the machine."""
    for path in TRAVERSALS:
        answer = raw(site, place + path)
        if answer.startswith("HTTP/1.1 200 "):  # a page knows the name alone; its script is told the rest
            assert place == "/sequences/", path
        else:
            assert answer.split()[1] in ("400", "404"), (path, answer)
        for secret in ("root:", "gapless.json", "Traceback", str(site.root)):
            assert secret not in answer


def test_topics_of_a_sequence_are_reached_by_their_names_only(site: Site) -> None:
    """A topic's name cannot name another sequence."""
    for name in ("a", "b"):
        site.record(name, None, "sensors/imu")
    assert raw(site, "/api/v1/sequences/a/topics/sensors%2Fimu").startswith("HTTP/1.1 200 ")
    for topic in ("sensors/imu", "%2E%2E%2Fb%2Fsensors%2Fimu", "sensors%252Fimu", "..%2F..%2Fb"):
        assert raw(site, f"/api/v1/sequences/a/topics/{topic}").startswith("HTTP/1.1 404 ")


def test_a_name_that_nothing_can_have_is_refused(site: Site) -> None:
    """With the error that writing it would be refused with."""
    told = refusal(site.api("/sequences/%00"), 400, "NameRefused")
    assert "control characters" in told["message"]
    refusal(site.api(f"/sequences/{'x' * 300}"), 400, "NameRefused")


def test_decoding_is_done_once() -> None:
    """What was encoded twice stays encoded once; both forms of an accent are one name."""
    assert decoded("a%2Fb") == "a/b"
    assert decoded("a%252Fb") == "a%2Fb"
    assert decoded("e%CC%81") == "é"
    for segment in ("%FF", "%00", "", "%ED%A0%80"):
        with pytest.raises(NameRefused):
            decoded(segment)
