"""Sessions of browsers: their cookies, how long they count, and how they end."""

from __future__ import annotations

import time
from contextlib import closing

import httpx
import pytest

from gapless.errors import KeyRefused, LimitReached
from gapless.serve.http.login import Tries
from gapless.serve.http.sessions import IDLE_S, LONGEST_S, MOST, Sessions, cookie_name, same
from gapless.serve.rights import Right

from .conftest import DEADLINE_S, Begin, Site


def browser(site: Site, key: str) -> tuple[httpx.Client, str]:
    """Return a client that has logged in, with the cookie in its jar, and its token."""
    client = httpx.Client(base_url=site.url, timeout=DEADLINE_S, trust_env=False)
    answer = client.post("/api/v1/session", json={"key": key}, headers={"Origin": site.url})
    assert answer.status_code == 200, answer.text
    return client, answer.json()["csrf"]


def test_a_key_begins_a_session(site: Site) -> None:
    """The cookie is out of reach for scripts and other sites; with it, pages and API answer."""
    made, key = site.made_key("write", "lab")
    answer = site.api("/session", "POST", json={"key": key})
    assert answer.json()["right"] == "write"
    assert answer.json()["groups"] == ["lab"]
    words = {word.strip().lower() for word in answer.headers["Set-Cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= words
    assert "secure" not in words  # this is plain HTTP: the browser would never send it back
    client, csrf = browser(site, key)
    with closing(client):
        assert client.get("/api/v1/info").json()["caller"]["key_id"] == made.key_id
        assert client.get("/api/v1/session").json() == {"right": "write", "groups": ["lab"], "csrf": csrf}
        assert client.get("/").status_code == 200
        assert key not in str(dict(client.cookies))


def test_over_tls_the_cookie_stays_there(begin: Begin) -> None:
    """Also behind a proxy that speaks TLS under a name of the operator's."""
    site = begin(hosts=("recorder.example.org",))
    key = site.key()
    headers = {"Host": "recorder.example.org", "Origin": "https://recorder.example.org"}
    answer = site.api("/session", "POST", json={"key": key}, headers=headers)
    assert "; secure" in answer.headers["Set-Cookie"].lower()


def test_a_page_without_a_session_leads_to_the_login(site: Site) -> None:
    """It comes back to where it was meant to go, and nowhere else."""
    key = site.key()
    answer = site.page("/sequences/a%2Fb?tab=plots")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/login?next=/sequences/a%252Fb%3Ftab%3Dplots"
    assert site.page("/login").status_code == 200
    client, _ = browser(site, key)
    with closing(client):
        for path, target in (
            ("/sequences/a%252Fb%3Ftab%3Dplots", "/sequences/a%2Fb?tab=plots"),
            ("//evil.example", "/"),
            ("/%5Cevil.example", "/"),
            ("https://evil.example", "/"),
            ("/%0d%0aX: y", "/"),
        ):
            assert client.get(f"/login?next={path}").headers["Location"] == target


def test_a_store_without_keys_has_no_login(site: Site) -> None:
    """Its pages open at once, without a cookie."""
    assert site.page("/login").headers["Location"] == "/"
    assert site.page("/").status_code == 200
    assert not site.http.cookies


def test_two_servers_of_a_machine_keep_their_sessions(site: Site, begin: Begin) -> None:
    """Browsers send cookies to every port of a host: each server knows its own."""
    other = begin(site.root.parent / "other")
    (client, _), foreign = browser(site, site.key()), other.key()
    with closing(client):
        headers = {"Origin": other.url}
        second = client.post(f"{other.url}/api/v1/session", json={"key": foreign}, headers=headers)
        assert second.status_code == 200
        assert client.get(f"{other.url}/api/v1/info").status_code == 200
        assert client.get("/api/v1/info").status_code == 200


def test_logging_out_ends_the_session(site: Site) -> None:
    """Its cookie lets nobody in from then on; another session of the same key goes on."""
    key = site.key()
    (client, csrf), (other, _) = browser(site, key), browser(site, key)
    with closing(client), closing(other):
        (name, cookie), *_ = client.cookies.items()
        assert client.delete("/api/v1/session", headers={"X-CSRF-Token": csrf}).status_code == 204
        assert not client.cookies
        kept = site.api("/info", headers={"Cookie": f"{name}={cookie}"})
        assert kept.status_code == 401
        assert other.get("/api/v1/info").status_code == 200


def test_a_revoked_key_ends_its_sessions(site: Site) -> None:
    """Soon after, without a restart; other keys' sessions go on."""
    made, key = site.made_key()
    (client, _), (other, _) = browser(site, key), browser(site, site.key())
    with closing(client), closing(other):
        assert client.get("/api/v1/info").status_code == 200
        site.revoke(made)
        until_s = time.monotonic() + DEADLINE_S
        while client.get("/api/v1/info").status_code == 200:
            assert time.monotonic() < until_s
        assert client.get("/api/v1/info").status_code == 401
        assert other.get("/api/v1/info").status_code == 200


def test_signing_out_ends_what_the_session_opened(site: Site) -> None:
    """Streams of other tabs too; those of other sessions of the key go on."""
    key = site.key()
    (client, csrf), (other, _) = browser(site, key), browser(site, key)
    stream = "/api/v1/live/stream"
    with (
        closing(client), closing(other),
        client.stream("GET", stream) as ending, other.stream("GET", stream) as staying,
    ):  # fmt: skip
        lines, others = ending.iter_lines(), staying.iter_lines()
        assert next(lines).startswith("retry:")
        assert next(others).startswith("retry:")
        headers = {"Origin": site.url, "X-CSRF-Token": csrf}
        assert client.delete("/api/v1/session", headers=headers).status_code == 204
        told = [line for line in lines if line]
        assert "event: refused" in told
        assert "the session of this browser has ended" in told[-1]
        assert not staying.is_closed
        assert other.get("/api/v1/info").status_code == 200


@pytest.mark.parametrize(
    "beside", ['a={"x":1, "y":2}', "flag", "Path=/x", "list=[1, 2]", 'k={"a":1}', "é=1", '"']
)
def test_cookies_of_other_programs_are_passed_over(site: Site, beside: str) -> None:
    """Browsers send those of every port of a machine, and not all are well formed."""
    client, _ = browser(site, site.key())
    with closing(client):
        [(name, value)] = client.cookies.items()
    for cookie in (f"{beside}; {name}={value}", f"{name}={value}; {beside}"):
        assert site.api("/info", headers={"Cookie": cookie.encode()}).status_code == 200, cookie


@pytest.mark.parametrize("cookie", ["", "0" * 64, "x", '"', "a=b; gapless_session", "é", "9" * 4000])
def test_a_forged_cookie_lets_nobody_in(site: Site, cookie: str) -> None:
    """It is as if there were none."""
    site.key()
    answer = site.api(
        "/info", headers={"Cookie": f"{cookie_name(site.server.served.store_uid)}={cookie}".encode()}
    )
    assert answer.status_code == 401


def test_wrong_keys_are_noted_and_slowed(site: Site) -> None:
    """Each is in the audit rows until there are too many; a right one is let in all the same."""
    made, key = site.made_key()
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    answers = [site.api("/session", "POST", json={"key": wrong}).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]
    assert site.api("/session", "POST", json={"key": key}).status_code == 200
    rows = site.audit()
    assert rows.count((made.key_id, "login", "refused", "done")) == 10
    assert rows.count((made.key_id, "login", "session", "done")) == 1


def test_tries_are_counted_for_each_peer() -> None:
    """One peer's wrong keys are not another's, and they are forgotten after a minute."""
    now_s = 0.0
    tries = Tries(lambda: now_s)
    for _ in range(10):
        tries.note("a")
    with pytest.raises(LimitReached):
        tries.note("a")
    tries.note("b")
    now_s = 61.0
    tries.note("a")


def test_sessions_end_by_themselves() -> None:
    """After half a day of silence, and after a week of use."""
    now_s = 0.0
    sessions = Sessions(lambda: now_s)
    quiet, _ = sessions.begin("k")
    busy, _ = sessions.begin("k")
    while now_s <= LONGEST_S:
        assert sessions.find(busy) is not None
        now_s += IDLE_S / 2
    assert sessions.find(busy) is None
    assert sessions.find(quiet) is None
    assert len(sessions) == 0


def test_sessions_are_bounded_for_each_key() -> None:
    """One more than the bound ends the one that was quiet longest; no key ends another's."""
    sessions = Sessions()
    other, _ = sessions.begin("other")
    first, _ = sessions.begin("k")
    second, _ = sessions.begin("k")
    assert sessions.find(first) is not None
    for _ in range(MOST - 1):
        sessions.begin("k")
    assert sessions.find(second) is None
    assert sessions.find(first) is not None
    assert sessions.find(other) is not None
    assert len(sessions) == MOST + 1
    assert sessions.end(first)
    assert not sessions.end(first)


def test_a_token_is_that_token() -> None:
    """Nothing else is, whatever characters it has."""
    assert same("abc", "abc")
    assert not any(same("abc", shown) for shown in (None, "", "ab", "abcd", "äbc", "\udc80"))


def test_a_key_that_was_shown_counts_as_long_as_it_counts(site: Site) -> None:
    """Without keys nobody needs one; from then on only who has shown one that is neither revoked nor unknown."""
    assert site.server.resume(None).right is Right.MANAGE
    made, _ = site.made_key("write", "lab")
    access = site.server.resume(made.key_id)
    assert (access.right, access.key_id, access.groups) == (Right.WRITE, made.key_id, frozenset({"lab"}))
    for unknown in (None, "", "0" * 8):
        with pytest.raises(KeyRefused):
            site.server.resume(unknown)
