"""Two layers of one sequence at once: what one of them does wrong leaves all else readable."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import gapless
from gapless.client import layer_topics
from gapless.errors import IntegrityError, NameTaken, SchemaRefused, StateError

NUMBER = pa.schema([("value", pa.float64())])
TEXT = pa.schema([("value", pa.string())])


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let layers declare their topics at the same moment: neither sees the other's."""
    monkeypatch.setattr(layer_topics, "_declared", lambda path: iter(()))


def record(root: Path) -> gapless.Client:
    """Return a client of a store whose sequence has a topic ``note`` that two layers gave different columns."""
    first, second = gapless.connect(root), gapless.connect(root)
    with first.sequence_create("a") as sequence:
        sequence.log("v", 1.0)
    with first.sequence_update("a", "ada") as one, second.sequence_update("a", "bob") as two:
        one.log("note", 1.0)
        one.flush()
        two.log("note", "text")
    return first


@pytest.mark.usefixtures("unseen")
def test_a_topic_of_two_schemas_is_listed_and_every_other_is_read(tmp_path: Path) -> None:
    """Reading its rows is an IntegrityError; each layer alone gives its own."""
    client = record(tmp_path)
    handler = client.sequence_handler("a")
    assert [(topic.name, topic.rows) for topic in handler] == [("v", 1), ("note", 2)]
    assert handler.topic("v").to_arrow()["value"].to_pylist() == [1.0]
    assert handler.start_ns is not None
    for _ in range(2):
        with pytest.raises(IntegrityError, match="another schema") as caught:
            handler.topic("note").to_arrow()
        assert caught.value.topic == "note"
    for layer, value in (("ada", 1.0), ("bob", "text")):
        alone = client.sequence_handler("a", layers=[layer])
        assert alone.topic("note").to_arrow()["value"].to_pylist() == [value]


@pytest.mark.usefixtures("unseen")
def test_another_layer_is_taken_beside_a_topic_of_two_schemas(tmp_path: Path) -> None:
    """The sequence goes on."""
    client = record(tmp_path)
    with client.sequence_update("a", "third") as third:
        third.log("w", 2.0)
    handler = client.sequence_handler("a")
    assert handler.layers == ["ada", "bob", "third"]
    assert handler.topic("w").to_arrow()["value"].to_pylist() == [2.0]


@pytest.mark.usefixtures("unseen")
def test_a_refused_update_leaves_no_folder(tmp_path: Path) -> None:
    """A base that cannot be read is found out before a layer has a name."""
    client = record(tmp_path)
    base = client.sequence_handler("a").path
    before = sorted(path.name for path in (base / "layers").iterdir())
    (base / "layers" / before[0] / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError):
        client.sequence_update("a", "third")
    assert sorted(path.name for path in (base / "layers").iterdir()) == before
    with client.sequence_create("live") as live:
        live.log("v", 1.0)
        with pytest.raises(StateError):
            client.sequence_update("live", "early")


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_topic_of_another_layer_takes_only_the_same_columns(tmp_path: Path, is_sealed: bool) -> None:
    """Also of one that began or ended since this one began; what fits is taken."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("a") as sequence:
            sequence.log("v", 1.0)
        with client.sequence_update("a", "bob") as two:
            with client.sequence_update("a", "ada") as one:
                one.topic_create("note", schema=NUMBER)
                one.flush()
                if not is_sealed:
                    check_refused(two)
            if is_sealed:
                check_refused(two)
            two.topic_create("note", schema=NUMBER).push_row(1, 2.0)
        assert client.sequence_handler("a").topic("note").to_arrow()["value"].to_pylist() == [2.0]


def check_refused(layer: gapless.SequenceWriter) -> None:
    """Try other columns under the name of another layer's topic, as it is and in another case."""
    for name in ("note", "Note"):
        with pytest.raises((SchemaRefused, NameTaken)):
            layer.topic_create(name, schema=TEXT)
