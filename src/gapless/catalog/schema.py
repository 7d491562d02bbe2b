"""The tables of ``catalog.db``. All of it can be rebuilt from the bundles, so another version is rebuilt."""

from __future__ import annotations

VERSION = 4  # PRAGMA user_version; an older file is emptied and filled again from the bundles

SCHEMA = """
-- One row per bundle. `stamp` tells whether the files changed since they were read.
CREATE TABLE sequence (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so a stale reader cannot mix rows
    name           TEXT NOT NULL UNIQUE,
    component      TEXT NOT NULL UNIQUE,
    state          TEXT NOT NULL,             -- open | pending | sealed
    outcome        TEXT,
    grp            TEXT,
    created_ns     INTEGER NOT NULL,
    sealed_ns      INTEGER,
    start_ns       INTEGER,
    end_ns         INTEGER,
    rows           INTEGER NOT NULL,          -- of user topics, layers included
    bytes          INTEGER NOT NULL,
    topics         INTEGER NOT NULL,
    layers         INTEGER NOT NULL,          -- sealed ones
    unsealed       TEXT NOT NULL,             -- JSON: the folders of layers without a manifest
    content_digest TEXT,
    metadata       TEXT NOT NULL,             -- the JSON document as the manifest holds it
    ledger         TEXT NOT NULL,
    problem        TEXT,                      -- why the manifest could not be read
    stamp          TEXT NOT NULL
) STRICT;
CREATE INDEX sequence_by_group ON sequence (grp);
CREATE INDEX sequence_by_created ON sequence (created_ns, name);
CREATE INDEX sequence_unsealed ON sequence (id) WHERE state <> 'sealed';

-- One row per topic of a sealed sequence; layers add to the topic of the same name. A topic that is an
-- entry of a feature run names it and goes with it; for the sequence's own topics those columns are NULL.
CREATE TABLE topic (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    sequence_id  INTEGER NOT NULL REFERENCES sequence (id) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    name         TEXT NOT NULL,
    ontology_tag TEXT,
    created_ns   INTEGER NOT NULL,
    rows         INTEGER NOT NULL,
    start_ns     INTEGER,
    end_ns       INTEGER,
    metadata     TEXT NOT NULL,
    fields       TEXT NOT NULL,               -- JSON: {"<column>": "<arrow type>"}
    reserved     INTEGER NOT NULL,
    unpruned     INTEGER NOT NULL DEFAULT 0,  -- statistics are incomplete: always a candidate
    feature      TEXT,
    run_id       TEXT,
    entry_group  TEXT,
    entry        TEXT,
    FOREIGN KEY (feature, run_id, entry_group, entry)
        REFERENCES feature_entries (feature, run_id, group_, sequence) ON DELETE CASCADE
) STRICT;
CREATE INDEX topic_by_sequence ON topic (sequence_id, position);
CREATE INDEX topic_by_tag ON topic (ontology_tag, sequence_id);
CREATE INDEX topic_by_name ON topic (name, sequence_id);
CREATE INDEX topic_unpruned ON topic (sequence_id) WHERE unpruned;
CREATE INDEX topic_by_entry ON topic (feature, run_id, entry_group, entry) WHERE feature IS NOT NULL;

-- One row per Parquet part. `stats` is NULL until the footer has been read.
CREATE TABLE part (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: a footer is read outside of transactions
    topic_id INTEGER NOT NULL REFERENCES topic (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,                -- base first, then layers: decides between equal times
    folder   TEXT NOT NULL,                   -- from the bundle: "", the layer's folder, or a feature run's
    entry    TEXT NOT NULL,                   -- JSON: the part as the manifest lists it
    stats    TEXT                             -- JSON: the footer's gapless.stats
) STRICT;
CREATE INDEX part_by_topic ON part (topic_id, position);
CREATE INDEX part_unread ON part (topic_id) WHERE stats IS NULL;

-- Range of each field over the whole topic, for pruning. `kind`: n number, b bool, s text.
CREATE TABLE field (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE topic_range (
    field_id INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    low      ANY,                             -- integers exact; NULL with high NULL: no value, or too long
    high     ANY,
    wide     INTEGER NOT NULL,                -- text too long to keep: low and high say nothing
    nulls    INTEGER NOT NULL,
    nans     INTEGER NOT NULL,
    topic_id INTEGER NOT NULL REFERENCES topic (id) ON DELETE CASCADE,
    PRIMARY KEY (topic_id, field_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX topic_range_by_high ON topic_range (field_id, kind, high);
CREATE INDEX topic_range_by_low ON topic_range (field_id, kind, low);
CREATE INDEX topic_range_wide ON topic_range (field_id) WHERE wide;

-- Metadata, flattened. `scope`: sequence | topic; the owner is the id there.
-- `type`: n number, N integer beyond 64 bits as text, b bool, s text, o object or list.
CREATE TABLE metadata_path (
    id INTEGER PRIMARY KEY, scope TEXT NOT NULL, path TEXT NOT NULL, UNIQUE (scope, path)
) STRICT;
CREATE TABLE metadata_value (
    path_id INTEGER NOT NULL,
    type    TEXT NOT NULL,
    value   ANY NOT NULL,
    owner   INTEGER NOT NULL,
    PRIMARY KEY (path_id, type, value, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX metadata_by_owner ON metadata_value (owner, path_id);

CREATE TABLE annotation (
    sequence_id INTEGER NOT NULL REFERENCES sequence (id) ON DELETE CASCADE,
    id          TEXT NOT NULL,
    start_ns    INTEGER NOT NULL,
    end_ns      INTEGER NOT NULL,
    name        TEXT NOT NULL,
    kind        TEXT,
    author      TEXT,
    confidence  REAL,
    created_ns  INTEGER NOT NULL,
    PRIMARY KEY (sequence_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX annotation_by_name ON annotation (name, sequence_id);

"""

# The tables of feature runs; a registry outside of a store has these and no others.
FEATURE_SCHEMA = """
-- What the folders looked like when they were last read.
CREATE TABLE IF NOT EXISTS seen (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- One row per feature run. `feature` is the storage name; times are ISO 8601 in UTC, '' = not finished.
CREATE TABLE IF NOT EXISTS feature_runs (
    feature      TEXT NOT NULL,
    run_id       TEXT NOT NULL,
    version      TEXT NOT NULL,
    params_hash  TEXT NOT NULL,
    params_json  TEXT,
    inputs_json  TEXT,
    digest       TEXT,                        -- 64 hex: the whole identity
    document     TEXT,                        -- JSON: what the digest is of
    state_digest TEXT,
    code_digest  TEXT,
    started_at   TEXT NOT NULL,
    finished_at  TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (feature, run_id)
) STRICT;

-- One row per recorded entry. `path` is relative to the store for files in it, '' without a file.
CREATE TABLE IF NOT EXISTS feature_entries (
    feature     TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    group_      TEXT NOT NULL,                -- '' for a sequence without a group
    sequence    TEXT NOT NULL,
    path        TEXT NOT NULL,
    n_rows      INTEGER NOT NULL,
    status      TEXT NOT NULL,                -- ok | empty | failed
    key         TEXT NOT NULL,                -- digest of the inputs, '' if nobody told
    record      TEXT NOT NULL,                -- JSON: the entry as the run's ledger has it
    recorded_ns INTEGER NOT NULL,
    indexed     INTEGER NOT NULL DEFAULT 0,   -- 0: its topic is not in topic, part and topic_range
    PRIMARY KEY (feature, run_id, group_, sequence),
    FOREIGN KEY (feature, run_id) REFERENCES feature_runs (feature, run_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX IF NOT EXISTS feature_entries_by_sequence ON feature_entries (sequence);
CREATE INDEX IF NOT EXISTS feature_entries_unindexed ON feature_entries (sequence) WHERE indexed = 0;

-- Which run read which. The upstream run may have been cleaned away since, so it is no foreign key.
CREATE TABLE IF NOT EXISTS dependencies (
    feature          TEXT NOT NULL,
    run_id           TEXT NOT NULL,
    upstream_feature TEXT NOT NULL,
    upstream_run_id  TEXT NOT NULL,
    PRIMARY KEY (feature, run_id, upstream_feature, upstream_run_id),
    FOREIGN KEY (feature, run_id) REFERENCES feature_runs (feature, run_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dependencies_by_upstream ON dependencies (upstream_feature, upstream_run_id);

-- Entries being computed at this moment, and by whom; the claim of an owner that died means nothing.
CREATE TABLE IF NOT EXISTS feature_claims (
    feature    TEXT NOT NULL,
    run_id     TEXT NOT NULL,
    group_     TEXT NOT NULL,
    sequence   TEXT NOT NULL,
    owner      TEXT NOT NULL,
    claimed_ns INTEGER NOT NULL,
    PRIMARY KEY (feature, run_id, group_, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS feature_claims_by_owner ON feature_claims (owner);
"""

SCHEMA += FEATURE_SCHEMA
FEATURE_TABLES = ("feature_runs", "feature_entries", "dependencies", "feature_claims")
