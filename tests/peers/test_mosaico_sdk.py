"""The unmodified mosaicolabs 0.7.0 uses our server as its own, in an environment that holds nothing of ours.

The environment is made once for each run of the tests; GAPLESS_MOSAICO_VENV names one that is there.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.serve.mosaico.random_rows import random_batch
from tests.serve.test_tls import self_signed

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.model.message import Message
from gapless.serve.keys import make_key
from gapless.serve.limits import Limits
from gapless.serve.mosaico.nesting import fit
from gapless.serve.mosaico.row_shape import arriving, full_type
from gapless.serve.mosaico.types import TAGS, row_type, serialization_format
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.serve.tls import read_identity
from gapless.store.python_values import column_values

SCRIPTS = Path(__file__).parent / "mosaico"
DEADLINE_S = 60.0
FIXED = {"format": "png", "min_range": 0.5, "max_range": 2.5, "range": 1.5}  # what the SDK checks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with the SDK and without gapless."""
    given = os.environ.get("GAPLESS_MOSAICO_VENV")
    folder = Path(given) if given else tmp_path_factory.mktemp("mosaicolabs")
    if not given:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
        install = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "mosaicolabs==0.7.0"]
        subprocess.run(install, check=True, timeout=800)
    return folder / "bin/python"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of an empty store with all its doors."""
    with Server(tmp_path_factory.mktemp("store"), port=0) as running:
        yield running


def run(python: Path, script: str, *words: object, given: str = "") -> str:
    """Run a script in the SDK's environment and return the last line it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), str(SCRIPTS / script), *map(str, words)],
        input=given,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()[-1] if done.stdout else ""


def names_in(script: str) -> list[str]:
    """Return the checks of a script, in order."""
    return re.findall(r"^def (check_\w+)", (SCRIPTS / script).read_text(), re.MULTILINE)


# -- the checks of the scripts ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(python: Path, server: Server) -> dict[str, str | None]:
    """Return what became of every check."""
    found: dict[str, str | None] = json.loads(run(python, "checks.py", "127.0.0.1", server.port))
    assert list(found) == names_in("checks.py")
    return found


@pytest.mark.parametrize("name", names_in("checks.py"))
def test_the_sdk_works(results: dict[str, str | None], name: str) -> None:
    """Each check ran against one server, in order, and asserted what its name says."""
    assert results[name] is None, results[name]


@pytest.fixture(scope="module")
def guarded_results(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Return what became of every check with keys and TLS."""
    folder = tmp_path_factory.mktemp("guarded")
    certificate, key = self_signed(folder / "tls", "server")
    with Server(folder / "store", port=0, tls=read_identity(certificate, key)) as running:
        with StateDatabase(folder / "store") as database:
            keys = {right.word: make_key(database, right)[1] for right in Right}
            keys["group"] = make_key(database, Right.DELETE, groups=["lab"])[1]
        given = json.dumps({"certificate": str(certificate), "keys": keys})
        found: dict[str, str | None] = json.loads(
            run(python, "guarded.py", "localhost", running.port, given=given)
        )
    assert list(found) == names_in("guarded.py")
    return found


@pytest.mark.parametrize("name", names_in("guarded.py"))
def test_keys_and_tls_work(guarded_results: dict[str, str | None], name: str) -> None:
    """The SDK's own header and certificate option; errors of the classes that it documents."""
    assert guarded_results[name] is None, guarded_results[name]


# -- field for field -------------------------------------------------------------------------------


def test_the_table_holds_every_type_of_the_sdk(python: Path) -> None:
    """The SDK tells types by a fingerprint of their schema."""
    theirs = json.loads(run(python, "fields.py", "types"))
    ours = {tag: [_fingerprint(tag), serialization_format(tag)] for tag in TAGS}
    assert ours == theirs
    assert len(ours) == 59


def _fingerprint(tag: str) -> str:
    return sha1(str(row_type(tag)).encode(), usedforsecurity=False).hexdigest()[:10]


def plain(value: Any) -> Any:
    """Return a value without its classes and nulls: what two sides must agree on."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        inner = {name: plain(item) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item is not None} or None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def rows_of(tag: str, seed: int) -> pa.RecordBatch:
    """Return random rows of a type."""
    kind = row_type(tag)
    assert kind is not None
    batch = random_batch(kind, seed=seed)
    for name, value in FIXED.items():
        if name in batch.schema.names and not pa.types.is_list(batch.schema.field(name).type):
            place = batch.schema.get_field_index(name)
            column = pa.repeat(pa.scalar(value, batch.schema.field(name).type), batch.num_rows)
            batch = batch.set_column(place, batch.schema.field(name), column)
    return batch


def test_what_their_client_writes_ours_reads_field_for_field(python: Path, tmp_path: Path) -> None:
    """Every type, as objects of our class of that name with every mixin."""
    folder = tmp_path / "rows"
    folder.mkdir()
    sent = {tag: rows_of(tag, seed=4) for tag in TAGS}
    for tag, batch in sent.items():
        with pa.ipc.new_file(folder / f"{tag}.arrow", batch.schema) as file:
            file.write(batch)
    with Server(tmp_path / "store", port=0) as running:
        run(python, "fields.py", "push", "127.0.0.1", running.port, folder)
    with gapless.connect(tmp_path / "store") as client:
        handler = client.sequence_handler("theirs")
        assert handler.outcome == "completed"
        for tag, batch in sent.items():
            topic = handler.topic(tag)
            assert topic.ontology_type is full_type(tag)
            found = [{"timestamp_ns": m.timestamp_ns, **(plain(m.data) or {})} for m in topic]
            assert found == [plain(row) for row in batch.to_pylist()], tag
        assert client.verify("theirs", deep=True) == []


def test_what_our_client_writes_theirs_reads_field_for_field(python: Path, tmp_path: Path) -> None:
    """Every type, with every mixin and without any."""
    sent = {tag: rows_of(tag, seed=5) for tag in TAGS}
    with Server(tmp_path / "store", port=0) as running:
        for sequence, kind_of in (("full", full_type), ("lean", lean_type)):
            with gapless.connect(tmp_path / "store") as client, client.sequence_create(sequence) as writer:
                for tag, batch in sent.items():
                    kind = kind_of(tag)
                    topic = writer.topic_create(tag, ontology_type=kind)
                    for message in our_objects(kind, tag, batch):
                        topic.push(message)
            folder = tmp_path / sequence
            folder.mkdir()
            run(python, "fields.py", "read", "127.0.0.1", running.port, sequence, folder)
            for tag, batch in sent.items():
                expected = [
                    {"timestamp_ns": m.timestamp_ns, **(plain(m.data) or {})}
                    for m in our_objects(kind_of(tag), tag, batch)
                ]
                found = pa.ipc.open_file(folder / f"{tag}.arrow").read_all().to_pylist()
                assert [plain(row) for row in found] == expected, tag


def lean_type(tag: str) -> Any:
    """Return our type without mixins."""
    return full_type(tag)._declaration.root or full_type(tag)


def our_objects(kind: Any, tag: str, batch: pa.RecordBatch) -> list[Message]:
    """Return rows as objects of a type of ours, without what the type has no field for."""
    stored = arriving(tag, "default", batch.schema, tag).store(batch)
    columns = [column_values(fit(stored.column(leaf.name), leaf.type.arrow())) for leaf in kind.leaves()]
    times = stored.column(0).to_pylist()
    return [
        Message(time_ns, kind.unflatten(values))
        for time_ns, values in zip(times, zip(*columns, strict=True), strict=True)
    ]


# -- clients that end without a word ---------------------------------------------------------------


def test_a_client_that_is_killed_or_just_ends_leaves_no_complete_sequence(
    python: Path, tmp_path: Path
) -> None:
    """What arrived is durable; the lease lets go of it, and it is recovered as interrupted."""
    for way in ("killed", "ended"):
        root = tmp_path / way
        with Server(root, port=0, limits=Limits(lease_s=1.0, session_lease_s=1.0)) as running:
            client = subprocess.Popen(
                [str(python), str(SCRIPTS / "vanish.py"), "127.0.0.1", str(running.port), way],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert client.stdout is not None
            assert client.stdout.readline() == "sent\n"
            if way == "killed":
                client.send_signal(signal.SIGKILL)
            assert client.wait(DEADLINE_S) == (-signal.SIGKILL if way == "killed" else 0)
            client.stdout.close()
            with gapless.connect(root) as reader:
                until(lambda: not reader.sequence_handler("vanished").owner_alive)
                handler = reader.sequence_handler("vanished")
                assert (handler.state, handler.outcome) == ("open", None)
                assert [m.timestamp_ns for m in handler.topic("t")] == list(range(100))
                reader.recover("vanished")
                assert reader.sequence_handler("vanished").outcome == "interrupted"


def until(holds: Any) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)
