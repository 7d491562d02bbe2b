"""A store served over HTTP on free ports of this machine, and a client that speaks to it over a real socket."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pytest

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.serve.address import Address
from gapless.serve.audit import audit_rows
from gapless.serve.keys import ApiKey, make_key, revoke_key
from gapless.serve.operations.operations import Operations, Shown
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.store.folder import FolderStore

DEADLINE_S = 60


@dataclass
class Site:
    """A server of a store. ``http`` sends requests as a program does; paths of the API begin after /api/v1."""

    root: Path
    server: Server
    operations: Operations
    http: httpx.Client

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self.operations.url is not None
        return self.operations.url.replace("0.0.0.0", "127.0.0.1")

    def record(self, name: str, group: str | None = None, *topics: str) -> None:
        """Record a sequence with one row in each topic, ``imu`` unless others are named."""
        with gapless.connect(self.root) as client, client.sequence_create(name, group=group) as writer:
            for topic in topics or ("imu",):
                writer.topic_create(topic, schema=pa.schema([("a", pa.float64())])).push_row(1, 1.0)

    @property
    def netloc(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    def api(self, path: str, method: str = "GET", *, key: str | None = None, **words: Any) -> httpx.Response:
        """Ask the API; ``words`` are httpx' own."""
        headers = {**words.pop("headers", {}), **bearer(key)}
        return self.http.request(method, f"{self.url}/api/v1{path}", headers=headers, **words)

    def page(self, path: str, *, key: str | None = None, **words: Any) -> httpx.Response:
        """Ask for a page as a browser does that opens it."""
        headers = {"Accept": "text/html", **words.pop("headers", {}), **bearer(key)}
        return self.http.get(f"{self.url}{path}", headers=headers, **words)

    def key(self, right: str = "read", *groups: str) -> str:
        """Make a key and return its text."""
        return self.made_key(right, *groups)[1]

    def made_key(self, right: str = "read", *groups: str) -> tuple[ApiKey, str]:
        """Make a key and return it and its text; from then on the server wants one."""
        with StateDatabase(self.root) as database:
            made, token = make_key(database, Right.named(right), groups=groups)
        self.server.access(token)
        return made, token

    def revoke(self, key: ApiKey) -> None:
        """Let a key count no longer."""
        with StateDatabase(self.root) as database:
            revoke_key(database, key.key_id)

    def audit(self) -> list[tuple[str | None, str, str, str]]:
        """Return key id, verb, what and outcome of each audit row."""
        return [(row.key_id, row.verb, row.what, row.outcome) for row in audit_rows(self.root)]


def bearer(key: str | None) -> dict[str, str]:
    """Return the header that shows a key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


Begin = Callable[..., Site]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder of a store that holds nothing yet."""
    folder = tmp_path / "store"
    FolderStore(folder)
    return folder


@pytest.fixture
def begin(root: Path) -> Iterator[Begin]:
    """Return a function that serves the store, or another, until the test ends."""
    with ExitStack() as ending:

        def start(
            folder: Path = root,
            *,
            host: str = "127.0.0.1",
            pipelines: tuple[Path, ...] = (),
            hub: Path | None = None,
            hosts: tuple[str, ...] = (),
            **words: Any,
        ) -> Site:
            server = Server(folder, host, 0, **words)
            server.start()
            ending.callback(server.stop, 0.1)
            shown = Shown(pipelines, hub, hosts)
            operations = Operations(server, http=Address(host, 0), retention_s=3600.0, shown=shown)
            ending.callback(operations.stop, 0.1)
            operations.start()
            assert operations.has_pages
            client = ending.enter_context(httpx.Client(timeout=DEADLINE_S, trust_env=False))
            return Site(folder, server, operations, client)

        yield start


@pytest.fixture
def site(begin: Begin) -> Site:
    """Return a server of the store, without keys."""
    return begin()


@pytest.fixture(scope="package")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sample store, which no test changes."""
    from .sample_store import record  # it needs Site

    return record(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="package")
def still(recorded: Path) -> Iterator[Site]:
    """Return a server of the sample store for tests that only look."""
    from .sample_store import serving

    with serving(recorded) as site:
        yield site


@pytest.fixture
def filled(begin: Begin, recorded: Path, root: Path) -> Site:
    """Return a server of a copy of the sample store."""
    return begin(shutil.copytree(recorded, root, dirs_exist_ok=True))
