"""What a run looks like on a Tiled server, read with the clients that the community reads runs with."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from tests.bluesky.recording.run_documents import (
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)
from tests.bluesky.tiled_server import TiledServer
from tests.bluesky.tiled_sink.sample_runs import Named, full_run, scalar_run, seq_nums, uid_of

from gapless.bluesky.tiled_sink.deliver_run import deliver_documents
from gapless.bluesky.tiled_sink.server import Server
from gapless.errors import DeliveryFailed, UsageError


def test_every_kind_of_key_is_read_back_by_the_clients_for_runs(server: TiledServer, target: Server) -> None:
    """Numbers, texts, booleans and arrays come back through BlueskyRunV3 with their types."""
    run = full_run(25)
    delivered = deliver_documents(lambda: run, target, batch_rows=10)
    assert delivered.is_whole
    assert delivered.rows == 25
    node = server.client()[uid_of(run)]
    assert type(node).__name__ == "BlueskyRunV3"
    assert node.metadata["stop"]["exit_status"] == "success"
    assert [spec.name for spec in node["primary"].specs] == ["BlueskyEventStream", "composite"]
    assert set(node["primary"].base) == {"internal", "large", "words"}
    data = node["primary"].read()
    assert data["x"].dtype == np.float64
    assert data["x"].values.tolist() == [1.5 * n for n in range(1, 26)]
    assert data["n"].dtype == np.int64
    assert data["b"].values.tolist() == [n % 2 == 0 for n in range(1, 26)]
    assert data["s"].values.tolist() == [f"text {n}" for n in range(1, 26)]
    assert node["primary"]["small"].read().tolist() == [[n, 1, 2] for n in range(1, 26)]
    assert data["large"].shape == (25, 5, 6)
    assert data["large"].values[24].tolist() == np.full((5, 6), 25.0).tolist()
    assert data["words"].values[3].tolist() == ["a", "b4"]
    assert node["primary"].base["internal"].read(["ts_x"])["ts_x"].tolist()[0] == run[2][1]["time"]


def test_a_server_whose_tables_hold_no_lists_gets_arrays(sqlite_server: TiledServer) -> None:
    """Arrays of a fixed shape become arrays of their own, those of any length JSON text; nothing is lost."""
    target = Server.of_url(sqlite_server.url)
    run = full_run(12)
    assert deliver_documents(lambda: run, target, batch_rows=5).is_whole
    assert not target.holds_lists
    target.close()
    stream = sqlite_server.client()[uid_of(run)]["primary"]
    assert set(stream.base) == {"internal", "small", "large", "words"}
    data = stream.read()
    assert data["small"].values.tolist() == [[n, 1, 2] for n in range(1, 13)]
    assert data["ragged"].values.tolist()[3 - 1] == "[0.0, 1.0, 2.0]"


def test_max_array_size_chooses_between_table_and_array(server: TiledServer, target: Server) -> None:
    """0 makes every array a node, -1 none of those that are no text."""
    for size, nodes in ((0, {"internal", "small", "large", "words"}), (-1, {"internal", "words"})):
        run = full_run(3)
        deliver_documents(partial(list, run), target, max_array_size=size)
        assert set(server.client()[uid_of(run)]["primary"].base) == nodes


@pytest.mark.parametrize("batch_rows", [1, 7, 10_000])
def test_any_size_of_batch_gives_the_same_table(server: TiledServer, target: Server, batch_rows: int) -> None:
    """Batches of 1, of 7 and of more than there are give the same rows."""
    run = scalar_run(20)
    deliver_documents(lambda: run, target, batch_rows=batch_rows)
    assert seq_nums(server.client(), uid_of(run)) == list(range(1, 21))


def test_delivering_again_changes_nothing(server: TiledServer, target: Server) -> None:
    """A run that is there wholly is found to be, and stays as it is."""
    run = full_run(9)
    for _ in range(2):
        assert deliver_documents(lambda: run, target, batch_rows=4).rows == 9
    assert seq_nums(server.client(), uid_of(run)) == list(range(1, 10))
    assert server.client()[uid_of(run)]["primary"]["large"].shape == (9, 5, 6)


@pytest.mark.parametrize("cut", [1, 2, 5, 11])
def test_a_run_that_is_there_in_part_is_completed(server: TiledServer, target: Server, cut: int) -> None:
    """Whatever of the run an earlier try left, the rest is added once and the stop comes last."""
    run = full_run(12)
    deliver_documents(lambda: run[:cut], target, batch_rows=2)
    node = server.client()[uid_of(run)]
    assert "stop" not in node.metadata
    deliver_documents(lambda: run, target, batch_rows=5)
    assert seq_nums(server.client(), uid_of(run)) == list(range(1, 13))
    assert server.client()[uid_of(run)].metadata["stop"] == run[-1][1]
    assert server.client()[uid_of(run)]["primary"]["large"].read()[:, 0, 0].tolist() == list(range(1, 13))


def test_rows_that_are_there_twice_are_written_again_once(server: TiledServer, target: Server) -> None:
    """A table that another writer filled with duplicates, in columns it guessed, becomes what was recorded."""
    run = scalar_run(6)
    deliver_documents(lambda: run[:5], target)
    node = server.client()[uid_of(run)]["primary"].base["internal"]
    again = node.read()[node.columns]
    node.append_partition(0, pa.Table.from_pandas(again, preserve_index=False))
    assert seq_nums(server.client(), uid_of(run)) == [1, 2, 3, 1, 2, 3]
    deliver_documents(lambda: run, target)
    assert seq_nums(server.client(), uid_of(run)) == [1, 2, 3, 4, 5, 6]


def test_rows_that_only_the_server_has_are_never_deleted(server: TiledServer, target: Server) -> None:
    """Where the server knows more than the recording, delivering is refused and nothing there changes."""
    run = scalar_run(6)
    deliver_documents(lambda: run, target)
    with pytest.raises(DeliveryFailed, match="rows of the run that this recording does not have"):
        deliver_documents(lambda: [*run[:4], run[-1]], target)
    assert seq_nums(server.client(), uid_of(run)) == [1, 2, 3, 4, 5, 6]


def test_values_that_are_not_as_declared_are_null_and_named(server: TiledServer, target: Server) -> None:
    """No silent cast: True is no number and 1.5 no integer; the notes say what was found where."""
    start = start_document()
    descriptor = descriptor_document(
        start, {"x": data_key(), "n": data_key("integer"), "b": data_key("boolean")}
    )
    rows = [(1, 2, True), (2.5, 3, 5), (True, 1.5, None), (None, 2**63, False)]
    run: list[Named] = [("start", start), ("descriptor", descriptor)]
    run += [
        ("event", event_document(descriptor, n, dict(zip("xnb", row, strict=True))))
        for n, row in enumerate(rows, 1)
    ]
    delivered = deliver_documents(lambda: [*run, ("stop", stop_document(start))], target)
    assert not delivered.is_whole
    node = server.client()[start["uid"]]
    table = node["primary"].base["internal"].read()
    assert table["x"].fillna(-1).tolist() == [1.0, 2.5, -1, -1]
    assert table["n"].fillna(-1).astype(int).tolist() == [2, 3, -1, -1]
    assert len([note for note in node.metadata["notes"] if "expected" in note]) == 4
    assert any("4 values of stream 'primary'" in note for note in node.metadata["notes"])


def test_names_that_a_table_refuses_are_changed_and_noted(server: TiledServer, target: Server) -> None:
    """Keys that differ by case, or hold what SQL does not take, get a name of their own and a note."""
    keys = ["a", "A", "f(x)", "1st", "é"]
    start = start_document()
    descriptor = descriptor_document(start, {key: data_key() for key in keys})
    event = event_document(descriptor, 1, {key: float(n) for n, key in enumerate(keys)})
    run: list[Named] = [("start", start), ("descriptor", descriptor), ("event", event)]
    deliver_documents(lambda: [*run, ("stop", stop_document(start))], target)
    node = server.client()[start["uid"]]
    table = node["primary"].base["internal"].read()
    assert [table[name][0] for name in ("a", "A_", "f_x_", "key_1st", "key_é")] == [0, 1, 2, 3, 4]
    assert sum("is column" in note for note in node.metadata["notes"]) == 4


def test_a_changed_configuration_is_kept_with_the_stream(server: TiledServer, target: Server) -> None:
    """A later descriptor of a stream is an update on its node; delivering again does not add it twice."""
    start = start_document(tiled_specs=["Mine"])
    first, second = (descriptor_document(start, {"x": data_key()}, configuration=gain(n)) for n in (1, 2))
    run: list[Named] = [("start", start)]
    for n, descriptor in enumerate((first, second), 1):
        run += [("descriptor", descriptor), ("event", event_document(descriptor, n, {"x": 0.5}))]
    run.append(("stop", stop_document(start)))
    for _ in range(2):
        deliver_documents(lambda: run, target)
    node = server.client()[start["uid"]]
    updates = node["primary"].metadata["_config_updates"]
    assert [update["uid"] for update in updates] == [second["uid"]]
    assert updates[0]["configuration"]["det"]["data"] == {"gain": 2}
    assert [spec.name for spec in node.specs] == ["Mine", "BlueskyRun"]
    assert "tiled_specs" not in node.metadata["start"]
    assert seq_nums(server.client(), start["uid"]) == [1, 2]


def test_more_columns_than_one_table_holds_are_several(server: TiledServer, target: Server) -> None:
    """A stream of 600 keys has two tables, read as one."""
    start = start_document()
    keys = [f"k{n:03}" for n in range(600)]
    descriptor = descriptor_document(start, {key: data_key() for key in keys})
    run: list[Named] = [("start", start), ("descriptor", descriptor)]
    run += [("event", event_document(descriptor, n, dict.fromkeys(keys, float(n)))) for n in (1, 2, 3)]
    for part in (run[:3], [*run, ("stop", stop_document(start))]):
        deliver_documents(partial(list, part), target)
    stream = server.client()[start["uid"]]["primary"]
    assert set(stream.base) == {"internal_0", "internal_1"}
    assert stream.read(["k000"])["k000"].values.tolist() == [1, 2, 3]
    assert stream.read(["k599"])["k599"].values.tolist() == [1, 2, 3]


def test_what_json_has_no_word_for_is_text_or_null_in_the_metadata(
    server: TiledServer, target: Server
) -> None:
    """Wide integers become text and NaN null; nothing is clipped to another number."""
    run = scalar_run(1, wide=2**70, edge=2**60, nan=float("nan"))
    deliver_documents(lambda: run, target)
    start = server.client()[uid_of(run)].metadata["start"]
    assert (start["wide"], start["edge"], start["nan"]) == (str(2**70), 2**60, None)


def test_a_run_without_a_stop_gets_none(server: TiledServer, target: Server) -> None:
    """What was interrupted does not look complete: no stop document, and what is said instead."""
    run = scalar_run(3)[:-1]
    delivered = deliver_documents(lambda: run, target, end={"outcome": "interrupted"})
    assert not delivered.has_stop
    metadata = server.client()[uid_of(run)].metadata
    assert "stop" not in metadata
    assert metadata["gapless"] == {"outcome": "interrupted", "rows": 3, "findings": 0}


def gain(value: int) -> dict[str, object]:
    """Return a configuration of one detector."""
    return {"det": {"data": {"gain": value}, "timestamps": {"gain": 0.0}, "data_keys": {}}}


def test_a_text_that_an_array_would_cut_is_empty_and_named(server: TiledServer, target: Server) -> None:
    """Arrays of text have a fixed width; what is wider is not cut silently."""
    start = start_document()
    descriptor = descriptor_document(start, {"words": data_key("array", (2,), dtype_numpy="<U3")})
    run: list[Named] = [("start", start), ("descriptor", descriptor)]
    rows = (["a", "b"], ["c", "d" * 100])
    run += [("event", event_document(descriptor, n, {"words": words})) for n, words in enumerate(rows, 1)]
    delivered = deliver_documents(lambda: [*run, ("stop", stop_document(start))], target)
    assert "1 values of stream 'primary'" in delivered.findings[0]
    assert server.client()[start["uid"]]["primary"]["words"].read().tolist() == [["a", "b"], ["", ""]]


def test_one_server_has_one_name() -> None:
    """However a server is spelled, runs left behind for it are known by the same name, which holds no secret."""
    spellings = (
        "http://u:p@h:1/?api_key=s",
        "http://h:1/api/v1",
        "tiled://h:1/api/v1/metadata/",
        "tiled+http://h:1",
    )
    assert {Server.of_url(spelling).url for spelling in spellings} == {"http://h:1"}
    with pytest.raises(UsageError, match="no address of a Tiled server"):
        Server.of_url("ftp://h")
