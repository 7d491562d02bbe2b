"""A feature run as an event of OpenLineage 2-0-2, for systems that collect lineage."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from gapless._version import __version__
from gapless.catalog.feature_rows import RunTables
from gapless.features.entry import GLOBAL_ENTRY
from gapless.features.lineage import predictors
from gapless.features.run_row import RunRow
from gapless.features.trained_models import trained_models
from gapless.model.names import to_component

PRODUCER = f"https://github.com/gapless-dev/gapless/tree/v{__version__}"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets/"
_CUSTOM = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet"
_NAMESPACE = "gapless"


def run_event(database: RunTables, root: Path | None, run: RunRow) -> dict[str, Any]:
    """Return the event that tells how far a run is: RUNNING, COMPLETE, or FAIL if every entry failed.

    Datasets are the recordings and runs that it read, and its own folder, by their paths.
    """
    counts = _counts(database, run)
    done = counts.get("ok", 0) + counts.get("empty", 0)
    kind = "COMPLETE" if run.finished else "FAIL" if counts.get("failed") and not done else "RUNNING"
    return {
        "eventType": kind,
        "eventTime": run.finished_at or run.started_at,
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": _run_id(run), "facets": {"gapless_run": _run_facet(run, counts)}},
        "job": {"namespace": _NAMESPACE, "name": run.feature, "facets": {}},
        "inputs": _inputs(database, root, run),
        "outputs": [
            {
                **_dataset(root, "features", run.feature, run.run_id),
                "facets": {"version": _version(run.digest or run.run_id)},
                "outputFacets": {"outputStatistics": _statistics(database, run)},
            }
        ],
    }


def _run_id(run: RunRow) -> str:
    """Return the same UUID for the same run on every machine."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"gapless:{run.feature}/{run.digest or run.run_id}"))


def _run_facet(run: RunRow, counts: dict[str, int]) -> dict[str, Any]:
    return {
        **_facet(_CUSTOM),
        "feature": run.feature,
        "run_id": run.run_id,
        "version": run.version,
        "digest": run.digest,
        "params": run.params_json,
        "inputs": run.inputs_json,
        "code_digest": run.code_digest,
        "state_digest": run.state_digest,
        "started_at": run.started_at,
        "entries": counts,
    }


def _inputs(database: RunTables, root: Path | None, run: RunRow) -> list[dict[str, Any]]:
    """Return the runs that the run read, its models, and the recordings that it has entries of."""
    upstream = database.rows(
        "SELECT d.upstream_feature, d.upstream_run_id, r.digest FROM dependencies AS d LEFT JOIN feature_runs AS r"
        " ON r.feature=d.upstream_feature AND r.run_id=d.upstream_run_id WHERE d.feature=? AND d.run_id=?"
        " ORDER BY 1, 2",
        (run.feature, run.run_id),
    )
    found = [
        {
            **_dataset(root, "features", feature, run_id),
            "facets": {"version": _version(digest or run_id)},
        }
        for feature, run_id, digest in upstream
    ]
    digests = (
        "SELECT content_digest FROM sequence WHERE name=e.sequence" if root is not None else "SELECT NULL"
    )
    recordings = database.rows(
        f"SELECT sequence, ({digests}) FROM feature_entries AS e WHERE feature=? AND run_id=? AND sequence<>?"
        " ORDER BY 1",
        (run.feature, run.run_id, GLOBAL_ENTRY[1]),
    )
    models = [] if root is None else predictors(database, (run.feature, run.run_id), trained_models(root))
    found += [
        {**_dataset(root, "models", m.name, m.run_id), "facets": {"version": _version(m.run_id)}}
        for m in models
    ]
    return found + [
        {
            **_dataset(root, "sequences", sequence),
            "facets": {"version": _version(digest)} if digest else {},
        }
        for sequence, digest in recordings
    ]


def _dataset(root: Path | None, *names: str) -> dict[str, Any]:
    """Return namespace and name of a folder of the store, as OpenLineage names files."""
    folder, *rest = names
    path = Path(folder, *(to_component(name) for name in rest))
    if root is None:
        return {"namespace": _NAMESPACE, "name": path.as_posix()}
    return {"namespace": "file", "name": (root.absolute() / path).as_posix()}


def _counts(database: RunTables, run: RunRow) -> dict[str, int]:
    rows = database.rows(
        "SELECT status, count(*) FROM feature_entries WHERE feature=? AND run_id=? GROUP BY status ORDER BY 1",
        (run.feature, run.run_id),
    )
    return dict(rows)


def _statistics(database: RunTables, run: RunRow) -> dict[str, Any]:
    [(rows, size)] = database.rows(
        "SELECT coalesce(sum(n_rows), 0), coalesce(sum(json_extract(record, '$.bytes')), 0)"
        " FROM feature_entries WHERE feature=? AND run_id=?",
        (run.feature, run.run_id),
    )
    schema = (
        f"{_FACETS}1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet"
    )
    return {**_facet(schema), "rowCount": rows, "size": size}


def _version(text: str) -> dict[str, Any]:
    schema = f"{_FACETS}1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
    return {**_facet(schema), "datasetVersion": text}


def _facet(schema: str) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": schema}
