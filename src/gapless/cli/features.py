"""Compute cached features of sequences, see what is up to date and why the rest is not.

run PIPELINE computes what is missing or out of date; --force-from STEP computes that step and all that
read it again. status tells of each step how many entries are there and why others are not; --deep compares
every byte. plan lists the entries that run would compute. why PIPELINE STEP SEQUENCE explains one entry.
accept PIPELINE STEP declares that outputs made by older source code are as good as new ones.

clean lists the runs on disk of the pipeline's features: `current` is what a step expects now, `kept` is needed
by another run or model, `would remove` by nobody; --yes removes those. Features of other pipelines and frames
that were sampled are not touched.

lineage FEATURE [RUN], or PIPELINE STEP, shows where a run or a model comes from, down to the sequences;
--openlineage prints OpenLineage JSON. list shows the features, models and runs of the store. sample PIPELINE
chooses frames over the data set (-n, --method, --by STEP for kmeans, --min-gap-s, --seed) and, with
--images TOPIC --out DIR, writes their pictures.

PIPELINE is a .toml file, or a .py file with a variable `pipeline`; docs/features.md explains both. With
--dry-run nothing is computed or written. Exit codes: 0 all well, 1 entries failed, 2 usage, 3 not found.
"""

from __future__ import annotations

import argparse
import importlib.util
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.errors import ArgumentRefused, MissingExtra, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from gapless.features.dataset import Dataset
    from gapless.features.pipeline import Pipeline

_ACTIONS = {
    "run": 1, "status": 1, "plan": 1, "why": 3, "clean": 1, "accept": 2, "lineage": 2, "list": 1, "sample": 1,
}  # fmt: skip
_COUNTS = ("n_seq", "runs", "ok", "empty", "failed", "pending", "stale")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=tuple(_ACTIONS), help="what to do")
    parser.add_argument("names", metavar="NAME", nargs="*", help="PIPELINE, STEP, SEQUENCE; FEATURE, RUN")
    options.add_store(parser)
    parser.add_argument(
        "--force-from", metavar="STEP", default=None, help="run, plan: compute this step and all after it"
    )
    parser.add_argument("--deep", action="store_true", help="status, why: compare every byte with its digest")
    parser.add_argument("--yes", action="store_true", help="clean: really remove")
    parser.add_argument("--openlineage", action="store_true", help="lineage: print OpenLineage JSON")
    parser.add_argument("-n", metavar="N", type=options.whole, default=100, help="sample: how many frames")
    parser.add_argument(
        "--method",
        choices=("uniform", "random", "stratified", "kmeans"),
        default="uniform",
        help="sample: how",
    )
    parser.add_argument(
        "--by", metavar="STEP", action="append", default=[], help="sample: compare frames by this step"
    )
    parser.add_argument(
        "--min-gap-s", metavar="S", type=options.number, default=0.0, help="sample: apart in one sequence"
    )
    parser.add_argument(
        "--seed", metavar="N", type=options.integer, default=0, help="sample: of everything random"
    )
    parser.add_argument(
        "--images", metavar="TOPIC", default=None, help="sample: write pictures of this topic"
    )
    parser.add_argument("--out", metavar="DIR", default=None, help="sample: where pictures go")
    options.add_dry_run(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    if len(args.names) > _ACTIONS[args.action]:
        raise UsageError("there are too many names", found=" ".join(args.names))
    if importlib.util.find_spec("pandas") is None:
        raise MissingExtra(
            "features need pandas and scikit-learn", next_step="pip install 'gapless[features]'"
        )
    if args.action == "lineage":
        from gapless.cli.feature_origin import lineage

        return lineage(args)
    if args.action == "list":
        return _list(args)
    return _with_pipeline(args)


def _with_pipeline(args: argparse.Namespace) -> int:
    from gapless.cli.feature_run import told_warnings
    from gapless.features.pipeline_file import load_pipeline, refused_in

    needed = ("PIPELINE", "STEP", "SEQUENCE")[: _ACTIONS[args.action]]
    if len(args.names) != len(needed):
        raise UsageError(
            f"{args.action} needs {' '.join(needed)}", found=" ".join(args.names),
            next_step=f"`gapless features {args.action} {' '.join(needed)}`",
        )  # fmt: skip
    loaded = load_pipeline(args.names[0])
    for step in [*args.names[1:2], *args.by, *([args.force_from] if args.force_from else [])]:
        _check_step(args, loaded.pipeline, step)
    with told_warnings(), loaded.dataset(options.existing_store(args)) as ds:
        try:
            return _do(args, ds, loaded.pipeline)
        except ArgumentRefused as error:
            raise refused_in(args.names[0], error) from error


def _check_step(args: argparse.Namespace, pipeline: Pipeline, step: str) -> None:
    if step not in pipeline.steps:
        raise UsageError(
            "there is no such step", found=step, expected=", ".join(pipeline.steps),
            next_step=f"`gapless features status {args.names[0]}` lists the steps",
        )  # fmt: skip


def _do(args: argparse.Namespace, ds: Dataset, pipeline: Pipeline) -> int:
    from gapless.cli.feature_run import plan_rows, run_pipeline

    if args.action == "run" and not args.dry_run:
        return run_pipeline(ds, pipeline, args.names[0], args.force_from, as_json=args.json)
    if args.action in ("plan", "run"):
        columns = ("step", "group", "sequence", "status", "why")
        return _table(args, plan_rows(ds, pipeline, args.force_from), columns, "nothing to compute")
    actions = {"status": _status, "clean": _clean, "sample": _sample, "accept": _accept, "why": _why}
    return actions[args.action](args, ds, pipeline)


def _status(args: argparse.Namespace, ds: Dataset, pipeline: Pipeline) -> int:
    frame = pipeline.status(ds, deep=args.deep)
    rows = _rows(frame)
    for row in rows:
        if row["feature"].startswith("(model) "):
            row.update(_model_facts(ds, row["feature"].removeprefix("(model) "), row["run_id"]))
        elif row["feature"] == "(callback)":
            row.update(dict.fromkeys(_COUNTS))
    return _table(args, rows, list(frame.columns), "no steps")


def _model_facts(ds: Dataset, name: str, run_id: str) -> dict[str, Any]:
    """Return what status tells of a model: it has sequences that it learned from, and no entries."""
    from gapless.features.pipeline_status import run_count
    from gapless.features.training.model_run import ModelRun

    folder = ModelRun.of(ds.models_root, name, run_id)
    known = folder.manifest()
    finished = known.get("finished_at")
    return {
        **dict.fromkeys(_COUNTS),
        "n_seq": len(known["entries"]) if known else None,
        "runs": run_count(folder.path.parent),
        "modified": datetime.fromisoformat(finished).isoformat(timespec="seconds") if finished else "-",
    }


def _clean(args: argparse.Namespace, ds: Dataset, pipeline: Pipeline) -> int:
    from gapless.cli.feature_origin import readers

    removes = args.yes and not args.dry_run
    frame = pipeline.clean(ds, dry_run=not removes)
    rows = _rows(frame)
    needed = readers(ds) if any(row["status"] == "kept" for row in rows) else {}
    for row in rows:
        by = needed.get((row["feature"], row["run_id"]), []) if row["status"] == "kept" else []
        row["needed_by"] = ", ".join(by)
    _table(args, rows, [*frame.columns, "needed_by"], "no runs on disk")
    waiting = [row for row in rows if row["status"] == "would remove"]
    if waiting:
        total_mb = sum(row["size_mb"] for row in waiting)
        output.note(
            f"{_runs(len(waiting))}, {total_mb:.3g} MB, needed by nobody; --yes removes what is listed so"
        )
    return 0


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _accept(args: argparse.Namespace, ds: Dataset, pipeline: Pipeline) -> int:
    name = args.names[1]
    item = next(item for item in pipeline.survey(ds) if item.step.name == name)
    changed = sum(state.code_changed for state in item.survey.states) if item.survey is not None else 0
    if item.survey is not None and not changed:
        output.say(f"{name}: nothing to accept, its outputs were made by the present source code")
        return 0
    if not args.dry_run:
        pipeline.accept(ds, name)
    verb = "would accept" if args.dry_run else "accepted"
    output.say(f"{name}: {verb} {changed} entries as made by the present source code")
    return 0


def _why(args: argparse.Namespace, ds: Dataset, pipeline: Pipeline) -> int:
    sequence = ds.client.catalog.sequence(args.names[2]).name
    why = pipeline.why(ds, args.names[1], sequence, deep=args.deep)
    if args.json:
        output.say_json({"step": args.names[1], "sequence": sequence, "why": why})
    else:
        output.say(why)
    return 0


def _sample(args: argparse.Namespace, ds: Dataset, pipeline: Pipeline) -> int:
    from gapless.cli.feature_run import computed
    from gapless.features.sampling import sample_frames

    if (args.images is None) != (args.out is None):
        raise UsageError(
            "--images TOPIC and --out DIR go together", found=args.images or args.out, next_step="give both"
        )
    if args.method == "kmeans" and not args.by:
        raise UsageError("kmeans compares frames by what a step made", next_step="name it with --by STEP")
    by = None
    if args.by:
        results = computed(ds, pipeline) if args.dry_run else pipeline.run(ds, progress=False)
        unknown = [name for name in args.by if name not in results]
        if unknown:
            raise UsageError(
                "--by names a step without outputs", found=unknown[0],
                expected=", ".join(results) or "a feature step that ran",
                next_step=f"`gapless features run {args.names[0]}`, then name a feature step",
            )  # fmt: skip
        by = [results[name] for name in args.by]
    sample = sample_frames(
        ds, args.n, args.method, by=by, min_gap_s=args.min_gap_s, seed=args.seed, record=not args.dry_run
    )
    if args.out is not None and args.dry_run:
        output.note(f"would write {len(sample)} pictures into {args.out}")
    elif args.out is not None:
        written = sample.write_images(args.out, args.images)
        output.note(f"{len(written)} pictures in {args.out}")
    return _table(args, _rows(sample.table), list(sample.table.columns), "no frames")


def _list(args: argparse.Namespace) -> int:
    from gapless.cli.feature_origin import LIST_COLUMNS, run_rows
    from gapless.features.dataset import Dataset

    with Dataset(options.existing_store(args)) as ds:
        rows = run_rows(ds, args.names)
    return _table(args, rows, LIST_COLUMNS, "no feature has run in this store yet")


# -- tables ------------------------------------------------------------------------------------


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.to_dict(orient="records")  # type: ignore[return-value]


def _table(args: argparse.Namespace, rows: list[dict[str, Any]], columns: Sequence[str], nothing: str) -> int:
    if args.json:
        output.say_json({"rows": rows})
        return 0
    if not rows:
        output.note(nothing)
        return 0
    heads = tuple(name.upper() for name in columns)
    cells = [tuple(_cell(row[name]) for name in columns) for row in rows]
    for line in output.table(heads, cells, right=frozenset()):
        output.say(line)
    return 0


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
