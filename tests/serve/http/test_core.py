"""The server as a whole: what it says about itself, how it refuses, and that it says so in one shape."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import gapless
from gapless._version import __version__
from gapless.errors import StateError
from gapless.observe.hub.ledger import HubLedger
from gapless.serve.address import Address
from gapless.serve.operations.operations import Operations

from .conftest import DEADLINE_S, Begin, Site, bearer

SHAPE = {"error", "code", "message", "found", "expected", "next", "sequence", "topic", "field"}


def refusal(answer: httpx.Response, status: int, error: str) -> dict[str, str]:
    """Return the body of an answer that refuses, in the one shape that there is."""
    assert answer.status_code == status, answer.text
    told: dict[str, str] = answer.json()
    assert set(told) == SHAPE
    assert told["error"] == error
    assert told["next"]
    assert "Traceback" not in answer.text
    return told


def test_it_says_what_it_is(site: Site) -> None:
    """Without keys everyone on this machine may do everything; there is no hub, so no part of that name."""
    told = site.api("/info").json()
    assert told["version"] == __version__
    assert told["store_uid"] == site.server.served.store_uid
    assert told["asks_for_keys"] is False
    assert told["caller"] == {"right": "manage", "groups": None, "key_id": None}
    assert told["parts"] == ["sequences", "live", "features"]


def test_a_key_says_what_its_bearer_may_do(site: Site) -> None:
    """In either header; two different keys, another scheme, a wrong key and none are refused."""
    made, key = site.made_key("read", "lab", "barn")
    caller = {"right": "read", "groups": ["barn", "lab"], "key_id": made.key_id}
    assert site.api("/info", key=key).json()["caller"] == caller
    assert site.api("/info", headers={"mosaico-api-key-token": key}).json()["caller"] == caller
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    answers = [
        site.api("/info"),
        site.api("/info", key=wrong),
        site.api("/info", key="x"),
        site.api("/info", headers={"Authorization": "Basic eDp5"}),
        site.api("/info", key=key, headers={"mosaico-api-key-token": wrong}),
    ]
    for answer in answers:
        refusal(answer, 401, "KeyRefused")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_without_a_key_no_path_is_told_from_another(site: Site) -> None:
    """What there is and what there is not are refused alike, OpenAPI's document too."""
    site.key()
    bodies = {
        site.api(path).text
        for path in ("/info", "/sequences", "/sequences/nothing", "/nothing", "/openapi.json")
    }
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["error"] == "KeyRefused"


def changes(site: Site, key: str) -> list[tuple[str, str]]:
    """Return method and path of everything that changes something, with names filled in; but for the session."""
    paths = site.api("/openapi.json", key=key).json()["paths"]
    found = [
        (method.upper(), re.sub(r"\{[^}]*\}", "walk", path).removeprefix("/api/v1"))
        for path, methods in paths.items()
        for method in methods
        if method != "get" and path != "/api/v1/session"
    ]
    assert len(found) >= 8
    return found


def test_nobody_changes_anything_without_a_key(site: Site) -> None:
    """Each route is behind the gate."""
    site.record("walk")
    key = site.key()
    for method, path in changes(site, key):
        refusal(site.api(path, method, json={}), 401, "KeyRefused")


def test_a_read_key_changes_nothing(site: Site) -> None:
    """Routes that change something want more than the right to read, each of them."""
    site.record("walk")
    key = site.key("read")
    for method, path in changes(site, key):
        answer = site.api(path, method, key=key, json={})
        assert answer.status_code in (403, 404, 422), f"{method} {path}: {answer.text}"
    label = {"start_ns": "1", "end_ns": "2", "label": "x", "kind": "behavior"}
    for method, path, body in (
        ("DELETE", "/sequences/walk", None),
        ("POST", "/sequences/walk/seal", None),
        ("POST", "/sequences/walk/recover", None),
        ("POST", "/sequences/walk/annotations", label),
    ):
        refusal(site.api(path, method, key=key, json=body), 403, "RightMissing")
    assert site.audit() == []
    assert site.api("/sequences/walk", key=key).status_code == 200


def test_a_foreign_group_does_not_exist(site: Site) -> None:
    """A key of one group is told the same about a sequence of another as about one that there is not."""
    site.record("walk", "lab")
    own, foreign = site.key("read", "lab"), site.key("read", "barn")
    assert site.api("/sequences/walk", key=own).status_code == 200
    there = refusal(site.api("/sequences/walk", key=foreign), 404, "NotFound")
    nowhere = refusal(site.api("/sequences/walks", key=foreign), 404, "NotFound")
    assert {**there, "sequence": ""} == {**nowhere, "sequence": ""}


def test_what_is_not_there(site: Site) -> None:
    """JSON for programs, a page for people; a method that a path does not have is said with those it has."""
    refusal(site.api("/nothing"), 404, "NotFound")
    refusal(site.http.get(f"{site.url}/nothing"), 404, "NotFound")
    page = site.page("/nothing")
    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")
    answer = site.api("/info", "POST")
    refusal(answer, 405, "QuestionRefused")
    assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/info?colour=red", None, "colour"),
        ("GET", "/sequences?limit=many", None, "query.limit"),
        ("POST", "/session", b"{", "body.1"),
        ("POST", "/session", b'{"key": 3}', "body.key"),
        ("POST", "/session", b'{"key": "x", "more": 1}', "body.more"),
    ],
)
def test_a_question_that_means_nothing_names_its_place(
    site: Site, method: str, path: str, body: bytes | None, field: str
) -> None:
    """Unknown parameters and wrong values are refused, never passed over."""
    headers = {} if body is None else {"Content-Type": "application/json"}
    told = refusal(site.api(path, method, content=body, headers=headers), 422, "QuestionRefused")
    assert told["field"] == field


def test_a_body_above_the_bound_is_refused_before_it_is_read(site: Site) -> None:
    """Whether it says beforehand how large it is or not."""
    most = 64 << 10
    host, port = site.netloc.split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as raw:
        head = f"POST /api/v1/sequences/walk/seal HTTP/1.1\r\nHost: {site.netloc}\r\nContent-Length: {most + 1}\r\n\r\n"
        raw.sendall(head.encode())
        answer = b""
        while piece := raw.recv(65536):  # it answers and closes: not one byte of the body was sent
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"RequestTooLarge" in answer

    for path, size_bytes in (("/sequences/walk/seal", most + 1), ("/session", (8 << 10) + 1)):
        pieces = iter([bytes(5_000)] * (size_bytes // 5_000 + 1))
        try:
            refused = site.api(path, "POST", content=pieces)
        except (httpx.WriteError, httpx.ReadError):  # it closed while the rest was on its way
            continue
        refusal(refused, 413, "RequestTooLarge")


def test_a_read_key_is_refused_before_its_body_is_read(site: Site) -> None:
    """Whichever path it is for; the session of a key is its own to end."""
    key = site.key("read")
    host, port = site.netloc.split(":")
    for path in ("/live/walk/command", "/sequences/walk/annotations", "/nothing"):
        with socket.create_connection((host, int(port)), DEADLINE_S) as raw:
            head = f"POST /api/v1{path} HTTP/1.1\r\nHost: {site.netloc}\r\nAuthorization: Bearer {key}\r\n"
            raw.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
            answer = b""
            while piece := raw.recv(65536):  # not one byte of the body was sent
                answer += piece
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"RightMissing" in answer
    assert site.api("/session", "DELETE", key=key).status_code == 204


def test_programs_that_watch_find_what_they_know(site: Site) -> None:
    """Health, readiness and figures are as without pages, on the same port, whatever name they are asked by."""
    assert site.http.get(f"{site.url}/healthz").json() == {"status": "alive"}
    assert site.http.get(f"{site.url}/readyz").text == '{"status": "ready"}\n'
    head = site.http.head(f"{site.url}/metrics", headers={"Host": "recorder.example.org"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    site.api("/sequences/nothing")
    figures = site.http.get(f"{site.url}/metrics").text
    assert 'gapless_http_requests_total{page="/healthz",status="200"} 1' in figures
    assert 'gapless_http_requests_total{page="/api/v1/sequences/{name}",status="404"} 1' in figures


def test_a_port_that_is_taken_is_an_error_with_words(site: Site) -> None:
    """Nothing is served then; the other server goes on."""
    port = int(site.netloc.rpartition(":")[2])
    with pytest.raises(StateError, match="not possible to listen"):
        Operations(site.server, http=Address("127.0.0.1", port))
    assert site.api("/info").status_code == 200


def test_every_route_says_in_openapi_what_it_answers(site: Site) -> None:
    """Each has a summary, an answer with a media type, and every refusal; ways to show a key are named."""
    document = site.api("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"key", "session"}
    faults = []
    for path, methods in document["paths"].items():
        assert path.startswith("/api/v1/")
        for method, told in methods.items():
            fine = next(answer for status, answer in told["responses"].items() if status.startswith("2"))
            if not told.get("summary") or not (fine.get("content") or "204" in told["responses"]):
                faults.append(f"{method} {path}")
            assert {"400", "401", "403", "404", "422", "503"} <= set(told["responses"])
    assert faults == []


PROGRAM = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
from urllib.request import urlopen
from gapless.serve.address import Address
from gapless.serve.operations.operations import Operations
from gapless.serve.server import Server
with Server(Path(sys.argv[2]), port=0) as server:
    operations = Operations(server, http=Address("127.0.0.1", 0))
    operations.start()
    print(operations.has_pages, urlopen(operations.url + "/healthz").read().decode().strip())
    operations.stop(0.1)
"""


@pytest.mark.parametrize("absent", ["fastapi", "uvicorn", "jinja2", "bokeh", "websockets"])
def test_without_the_extra_health_and_figures_stay(absent: str, root: Path) -> None:
    """Whichever part of it is missing, the server starts, and answers programs that watch."""
    environment = {**os.environ, "PYTHONPATH": str(Path(gapless.__path__[0]).parent)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, absent, str(root)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=environment,
    )
    assert (done.stdout.strip(), done.returncode) == ('False {"status": "alive"}', 0), done.stderr


def test_a_server_is_imported_without_the_extra() -> None:
    """What nobody uses is not loaded: no web framework for a server without pages, or for --help."""
    program = (
        "import sys, gapless.serve.server, gapless.serve.operations.operations, gapless.cli.main\n"
        "try:\n    gapless.cli.main.main(['serve', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'fastapi', 'starlette', 'uvicorn', 'jinja2', 'bokeh', 'websockets'} & set(sys.modules)),"
        " file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(gapless.__path__[0]).parent)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=environment,
    )
    assert done.stderr.splitlines()[-1:] == ["[]"], done.stderr


def test_no_unexpected_error_shows_itself(begin: Begin, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told a reference, by which the log tells all."""
    site = begin()
    key = site.key("manage")
    with caplog.at_level("ERROR", "gapless.serve"):
        site.server.served.store_uid = None  # type: ignore[assignment]
        answer = site.http.get(f"{site.url}/api/v1/info", headers=bearer(key))
    told = refusal(answer, 500, "ServerFault")
    assert told["found"].split()[-1] in caplog.text
    assert "NoneType" not in answer.text
    assert "NoneType" in caplog.text


def test_every_page_opens(begin: Begin, tmp_path: Path) -> None:
    """As HTML, with the parts that there are in its navigation, and its own marked as the present one."""
    hub = tmp_path / "hub.db"
    HubLedger(hub).close()
    site = begin(hub=hub)
    for path, part in (
        ("/", "sequences"),
        ("/sequences/walk", "sequences"),
        ("/live", "live"),
        ("/live/walk", "live"),
        ("/features", "features"),
        ("/features/speed/0123", "features"),
        ("/hub", "hub"),
    ):
        page = site.page(path)
        assert page.status_code == 200, path
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        present = f'href="{"/" if part == "sequences" else f"/{part}"}" aria-current="page"'
        assert present in " ".join(page.text.split()), path
    group = site.key("write", "lab")
    assert site.page("/hub", key=group).status_code == 404
    assert 'href="/hub"' not in site.page("/", key=group).text


def test_a_part_that_is_not_there_is_not_shown(site: Site) -> None:
    """Without a hub there is no such page, and no way to it."""
    assert site.page("/hub").status_code == 404
    assert 'href="/hub"' not in site.page("/").text
