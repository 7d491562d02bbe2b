"""Queries over a few known sequences."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from tests.catalog.bundle_files import TopicSpec, write_bundle

import gapless
from gapless.catalog import Catalog
from gapless.catalog.answer import clusterize, intersect
from gapless.errors import IntegrityError, QueryRefused
from gapless.model.expression import Field, Predicate, Sequence, Topic, ontology_root
from gapless.model.query_builders import QueryOntologyCatalog, QuerySequence, QueryTopic
from gapless.model.query_text import parse

IMU = ontology_root("IMU")


def test_metadata_globs_find_and_do_not_find(catalog: Catalog) -> None:
    """A glob on an undeclared nested path finds exactly the sequences that match."""
    planning = Sequence.Q.user_metadata["vehicle.software.planning"]
    assert catalog.query(planning.match("plan-4.*")).names == ["mission_a"]
    assert catalog.query(planning.match("plan-5.*")).names == []
    assert catalog.query(Topic.Q.user_metadata["interface.type"].eq("UART")).names == ["mission_a"]
    assert catalog.query(Topic.Q.user_metadata["interface.type"].eq("CAN")).names == []


def test_a_match_without_wildcard_that_finds_nothing_says_so(catalog: Catalog) -> None:
    """The answer warns about a glob that was probably meant as a beginning, and about unknown paths."""
    answer = catalog.query(Sequence.Q.user_metadata["vehicle.software.planning"].match("plan-4"))
    assert answer.warnings == ["match 'plan-4' has no wildcard and found nothing; did you mean 'plan-4*'?"]
    assert "vehicle.id" in catalog.query(Sequence.Q.user_metadata["vehicle.idd"].eq("x")).warnings[0]


def test_spans_are_the_maximal_runs_of_matching_rows(catalog: Catalog) -> None:
    """A content query answers with sequences, topics and the exact spans."""
    answer = catalog.query(IMU.acceleration.x.outside(2, 7))
    assert [(i.sequence.name, [(t.locator, t.spans) for t in i.topics]) for i in answer] == [
        ("mission_a", [("mission_a/sensors/imu", [(0, 10), (80, 90)])]),
        ("mission_b", [("mission_b/sensors/imu", [(0, 10)])]),
    ]
    assert answer[0].topics[0].rows == 4


def test_conditions_of_one_type_hold_in_the_same_row(catalog: Catalog) -> None:
    """Two conditions that hold only in different rows do not match."""
    assert catalog.query(IMU.acceleration.x.gt(3), IMU.acceleration.y.lt(-3)).names == [
        "mission_a",
        "mission_b",
    ]
    assert catalog.query(IMU.acceleration.x.gt(3) & IMU.acceleration.y.gt(-3)).names == []


def test_topic_conditions_restrict_the_topics_with_content(catalog: Catalog) -> None:
    """A content condition holds in a topic that satisfies all topic conditions."""
    content = Field("*", "value").gt(0)
    assert catalog.query(content & Topic.Q.name.match("oven/*")).names == ["mission_a", "mission_b"]
    assert catalog.query(content & ~Topic.Q.name.match("oven/*")).names == []


def test_builders_and_text_ask_the_same(catalog: Catalog) -> None:
    """Expressions, builders and text give the same answer, alone and together."""
    built = catalog.query(
        QuerySequence().with_name("mission_a"), QueryTopic().with_name_match("sensors/*"),
        QueryOntologyCatalog(IMU.acceleration.x.gt(8)),
    )  # fmt: skip
    text = catalog.query('name == "mission_a" and topic.name match "sensors/*" and IMU.acceleration.x > 8')
    assert built[0].topics[0].spans == text[0].topics[0].spans == [(90, 90)]


def test_pages_follow_each_other_without_overlap(store: Path) -> None:
    """A limit gives a cursor; the cursor continues exactly behind the last sequence, in either order."""
    for number in range(7):
        write_bundle(store, f"s{number}", opened_ns=number // 2)
    catalog = Catalog(store)
    names: list[str] = []
    cursor = None
    while True:
        answer = catalog.query(Sequence.Q.name.match("s*"), order="-created", limit=3, cursor=cursor)
        names += answer.names
        cursor = answer.next_cursor
        if cursor is None:
            break
    assert names == [f"s{n}" for n in range(6, -1, -1)]
    page = catalog.query(Sequence.Q.name.match("s*"), limit=3)
    with pytest.raises(QueryRefused, match="another query"):
        catalog.query(Sequence.Q.name.match("t*"), cursor=page.next_cursor)


def test_statistics_answer_without_opening_a_file(mission: Path, catalog: Catalog) -> None:
    """What statistics prove is answered although the files are gone; what they do not is an error."""
    catalog.reindex()
    for part in mission.glob("sequences/*/topics/*/*.parquet"):
        part.unlink()
    assert catalog.query(IMU.acceleration.x.gt(100)).names == []
    assert catalog.query(IMU.acceleration.x.geq(0))[0].topics[0].spans == [(0, 90)]
    with pytest.raises(IntegrityError):
        catalog.query(IMU.acceleration.x.gt(5))


def test_a_damaged_footer_is_an_error_and_never_a_missing_answer(mission: Path) -> None:
    """A part whose footer cannot be read stays a candidate, so the query says what is damaged."""
    part = next(mission.glob("sequences/mission_a/topics/sensors*/*.parquet"))
    data = bytearray(part.read_bytes())
    data[-20] ^= 0xFF
    part.write_bytes(data)
    with pytest.raises(IntegrityError, match="part-00000"):
        Catalog(mission).query(IMU.acceleration.x.gt(5))


def test_the_number_of_statements_does_not_grow_with_sequences(store: Path) -> None:
    """A query runs as many statements over 40 sequences as over 4."""
    spec = TopicSpec(
        {"x": pa.float64()}, [[{"timestamp_ns": 1, "x": 1.0}, {"timestamp_ns": 2, "x": 2.0}]], tag="IMU"
    )
    counts = []
    for start, stop in [(0, 4), (4, 40)]:
        for number in range(start, stop):
            write_bundle(store, f"s{number}", {"imu": spec}, metadata={"n": number})
        catalog = Catalog(store)
        catalog.reindex()
        before = catalog.statements
        answer = catalog.query(IMU.x.gt(1) & Sequence.Q.metadata["n"].geq(0))
        assert len([topic for item in answer for topic in item.topics]) == stop
        counts.append(catalog.statements - before)
    assert counts[0] == counts[1] <= 6


def test_answers_become_tables(catalog: Catalog) -> None:
    """to_arrow has one row per span, or one with nulls for a topic without spans."""
    table = catalog.query(IMU.acceleration.x.outside(2, 7) & Sequence.Q.name.eq("mission_a")).to_arrow()
    assert table.to_pylist()[0] == {
        "sequence": "mission_a", "topic": "sensors/imu", "ontology_tag": "IMU", "start_ns": 0, "end_ns": 10,
    }  # fmt: skip
    assert catalog.query(Sequence.Q.name.eq("mission_a")).to_arrow().num_rows == 2
    assert catalog.query(Sequence.Q.name.eq("nobody")).to_arrow().num_rows == 0


def test_near_spans_join_and_common_spans_intersect() -> None:
    """clusterize joins spans at most dt apart; intersect keeps the time that all sets share."""
    assert clusterize([(0, 1), (3, 4), (10, 11)], 2) == [(0, 4), (10, 11)]
    assert intersect([[(0, 5), (8, 12)], [(4, 9)]]) == [(4, 5), (8, 9)]
    assert intersect([[(0, 1)], [(2, 3)]]) == []


def test_topics_of_an_item_intersect(catalog: Catalog) -> None:
    """intersect on an item gives the time in which all its topics match, with a tolerance if asked."""
    answer = catalog.query(
        (IMU.acceleration.x.leq(1) & Field("oven/pv", "value").gt(0)) & Sequence.Q.name.eq("mission_a")
    )
    assert answer[0].intersect() == [(5, 5)]
    assert answer[0].clusterize(0) == {"sensors/imu": [(0, 10)], "oven/pv": [(5, 5)]}


def test_a_field_that_no_topic_has_is_named(catalog: Catalog) -> None:
    """A topic or type that exists without the field asked for gives a warning; a right field gives none."""
    for target in ("field:sensors/imu", "ontology:IMU"):
        (warning,) = catalog.query(Predicate(target, "aceleration.x", "gt", 1)).warnings
        assert "'aceleration.x'" in warning
        assert "acceleration.x" in warning.partition("there is")[2]
        assert catalog.query(Predicate(target, "acceleration.x", "gt", 1e9)).warnings == []
    (warning,) = catalog.query(Predicate("field:sensors/*", "aceleration.x", "gt", 1)).warnings
    assert "acceleration.x" in warning.partition("there is")[2]


@pytest.mark.parametrize(
    ("condition", "missing", "near"),
    [
        (Predicate("ontology:IMV", "acceleration.x", "gt", 1), "'IMV'", "IMU"),
        (Predicate("field:sensors/imv", "acceleration.x", "gt", 1), "'sensors/imv'", "sensors/imu"),
        (Predicate("field:senors/*", "acceleration.x", "gt", 1), "'senors/*'", "sensors/imu"),
        (Topic.Q.name.eq("sensors/imv"), "'sensors/imv'", "sensors/imu"),
        (Topic.Q.name.match("senors/*"), "'senors/*'", "sensors/imu"),
        (Topic.Q.ontology_tag.in_("IMV"), "'IMV'", "IMU"),
    ],
)
def test_a_topic_or_type_that_no_sequence_has_is_named(
    catalog: Catalog, condition: Predicate, missing: str, near: str
) -> None:
    """With those that are nearest, so that a slip of the pen is no empty answer without a word."""
    answer = catalog.query(condition)
    assert answer.names == []
    (warning,) = answer.warnings
    assert missing in warning
    assert near in warning.partition("there is")[2]


def test_what_some_topic_has_is_not_called_unknown(catalog: Catalog) -> None:
    """Though nothing is found: the values decided."""
    for condition in (
        Predicate("ontology:IMU", "acceleration.x", "gt", 1e9),
        Predicate("field:sensors/*", "acceleration.x", "gt", 1e9),
        Topic.Q.name.eq("sensors/imu") & Topic.Q.rows.gt(10**9),
    ):
        answer = catalog.query(condition)
        assert (answer.names, answer.warnings) == ([], [])


def test_a_topic_of_a_sequence_that_is_being_recorded_is_known(tmp_path: Path) -> None:
    """Its name stands in no manifest yet."""
    with gapless.connect(tmp_path) as client, client.sequence_create("live") as sequence:
        sequence.log("oven/pv", 1.0)
        sequence.flush()
        assert client.query("oven/pv:value > 1e9").warnings == []
        (warning,) = client.query("oven/pw:value > 1e9").warnings
        assert "oven/pv" in warning
        (warning,) = client.query("oven.value > 1e9").warnings
        assert "'oven'; topics here have no type" in warning


def test_a_manifest_that_cannot_be_read_may_hold_what_is_asked_for(tmp_path: Path) -> None:
    """So nothing is called unknown while there is one."""
    with gapless.connect(tmp_path) as client:
        for name, topic in (("one", "imu"), ("other", "gps")):
            with client.sequence_create(name) as sequence:
                sequence.log(topic, 1.0)
        manifest = tmp_path / "sequences" / "one" / "manifest.json"
        sound = manifest.read_bytes()
        manifest.write_bytes(b"{" + sound[5:])
        client.catalog.reindex()
        assert client.query('topic.name == "imu"').warnings == []
        manifest.write_bytes(sound)
        client.catalog.reindex()
        (warning,) = client.query('topic.name == "imv"').warnings
        assert "'imv'" in warning


def test_a_topic_called_label_is_still_a_topic() -> None:
    """So is a type: only the bare word means the labels of a sequence."""
    assert parse("label:value > 1") == Predicate("field:label", "value", "gt", 1)
    assert parse("label.value > 1") == Predicate("ontology:label", "value", "gt", 1)


def test_label_is_another_word_for_annotation(tmp_path: Path) -> None:
    """Labels are found by the word that `gapless label` has for them."""
    with gapless.connect(tmp_path) as client:
        for name in ("a", "b"):
            with client.sequence_create(name) as sequence:
                sequence.log("x", 1.0)
        client.annotate("a", 1, 2, "spike")
        assert (
            client.query('label == "spike"').names
            == client.query('sequence.label match "sp*"').names
            == ["a"]
        )


def test_a_column_is_not_pruned_by_a_member_of_a_struct_that_reads_alike(tmp_path: Path) -> None:
    """Beside a struct ``a`` with a member ``b``, the column ``a.b`` has statistics of its own."""
    with gapless.connect(tmp_path) as client:
        for name, member in (("same", "b"), ("other", "c")):
            schema = pa.schema([("a.b", pa.float64()), ("a", pa.struct([(member, pa.float64())]))])
            with client.sequence_create(name) as sequence:
                topic = sequence.topic_create("t", schema=schema)
                for row in range(10):
                    topic.push_row(row, float(row), {member: -1.0})
        answer = client.query(Field("t", "a.b").gt(5))
        assert [(item.name, item.topics[0].spans) for item in answer] == [
            ("same", [(6, 9)]),
            ("other", [(6, 9)]),
        ]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("pose.x", "struct<x: double>"), ("pose", "struct<x: double>"), ("when", "timestamp[ns]")],
)
def test_a_column_that_no_query_compares_is_named(tmp_path: Path, path: str, kind: str) -> None:
    """An empty answer says that it comes of the column's type; whether there is a value can be asked."""
    schema = pa.schema([("pose", pa.struct([("x", pa.float64())])), ("when", pa.timestamp("ns"))])
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as sequence:
            sequence.topic_create("t", schema=schema).push_row(1, {"x": 9.0}, 9)
        answer = client.query(Field("t", path).gt(5))
        assert answer.names == []
        (warning,) = answer.warnings
        assert kind in warning
        assert client.query(Field("t", path.partition(".")[0]).exists()).names == ["s"]
