"""Compute cached features of sequences, see what is up to date and why the rest is not.

run PIPELINE computes what is missing or out of date; --force-from STEP computes that step and all that
read it again. status tells of each step how many entries are there and why others are not; --deep compares
every byte. plan lists the entries that run would compute. why PIPELINE STEP SEQUENCE explains one entry.
clean removes runs that nothing needs; it only lists them unless --yes is given. accept PIPELINE STEP declares
that outputs made by older source code are as good as new ones.

lineage FEATURE [RUN] shows where a run comes from, down to the sequences; --openlineage prints OpenLineage
JSON. list shows the features, runs and entries of the store. sample PIPELINE chooses frames over the data set
(-n, --method, --by STEP for kmeans, --min-gap-s, --seed) and, with --images TOPIC --out DIR, writes their pictures.

PIPELINE is a .toml file, or a .py file with a variable `pipeline`.
Exit codes: 0 all well, 1 entries failed, 2 usage, 3 not found.
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.errors import AllEntriesFailed, MissingExtra, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset
    from gapless.features.pipeline import Pipeline

_ACTIONS = {
    "run": 1, "status": 1, "plan": 1, "why": 3, "clean": 1, "accept": 2, "lineage": 2, "list": 1, "sample": 1,
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=tuple(_ACTIONS), help="what to do")
    parser.add_argument("names", metavar="NAME", nargs="*", help="PIPELINE, STEP, SEQUENCE; FEATURE, RUN")
    options.add_store(parser)
    parser.add_argument(
        "--force-from", metavar="STEP", default=None, help="run: compute this step and all after it"
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
        "--min-gap-s", metavar="S", type=float, default=0.0, help="sample: apart in one sequence"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="sample: of everything random")
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
        return _lineage(args)
    if args.action == "list":
        return _list(args)
    return _with_pipeline(args)


def _with_pipeline(args: argparse.Namespace) -> int:
    from gapless.features.pipeline_file import load_pipeline

    needed = ("PIPELINE", "STEP", "SEQUENCE")[: _ACTIONS[args.action]]
    if len(args.names) != len(needed):
        raise UsageError(
            f"{args.action} needs {' '.join(needed)}", found=" ".join(args.names),
            next_step=f"`gapless features {args.action} {' '.join(needed)}`",
        )  # fmt: skip
    loaded = load_pipeline(args.names[0])
    root = options.existing_store(args)
    with loaded.dataset(root) as ds:
        if args.action == "run" and not args.dry_run:
            return _run(args, ds, loaded.pipeline)
        if args.action in ("plan", "run"):
            return _table(args, loaded.pipeline.plan(ds), "nothing to compute")
        if args.action == "status":
            return _table(args, loaded.pipeline.status(ds, deep=args.deep), "no steps")
        if args.action == "clean":
            removes = args.yes and not args.dry_run
            return _table(args, loaded.pipeline.clean(ds, dry_run=not removes), "no runs on disk")
        if args.action == "sample":
            return _sample(args, ds, loaded.pipeline)
        if args.action == "accept":
            loaded.pipeline.accept(ds, args.names[1])
            return 0
        why = loaded.pipeline.why(ds, args.names[1], args.names[2], deep=args.deep)
        if args.json:
            output.say_json({"step": args.names[1], "sequence": args.names[2], "why": why})
        else:
            output.say(why)
        return 0


def _run(args: argparse.Namespace, ds: Dataset, pipeline: Pipeline) -> int:
    failed: dict[str, list[Any]] = {}
    results = pipeline.run(ds, args.force_from, progress=None if not args.json else False)
    for name, result in results.items():
        if result.failed_entries:
            failed[name] = [list(key) for key in result.failed_entries]
    if args.json:
        output.say_json(
            {
                "results": {
                    name: {"feature": r.feature, "run_id": r.run_id, "cached": bool(r.cache_hit)}
                    for name, r in results.items()
                },
                "failed": failed,
            }
        )
    else:
        for name, result in results.items():
            state = "cached" if result.cache_hit else "computed"
            output.say(f"{name}: {state}  {result.feature} {result.run_id}")
    for name, keys in failed.items():
        output.note(f"{name}: {len(keys)} entries failed; `gapless features why` tells each one's error")
    return AllEntriesFailed.exit_code if failed else 0


def _sample(args: argparse.Namespace, ds: Dataset, pipeline: Pipeline) -> int:
    from gapless.features.sampling import sample_frames

    if (args.images is None) != (args.out is None):
        raise UsageError("--images TOPIC and --out DIR go together", found=args.images or args.out)
    by = None
    if args.by:
        results = pipeline.run(ds, progress=False)
        unknown = [name for name in args.by if name not in results]
        if unknown:
            raise UsageError("--by names no feature step", found=unknown[0], expected=", ".join(results))
        by = [results[name] for name in args.by]
    sample = sample_frames(ds, args.n, args.method, by=by, min_gap_s=args.min_gap_s, seed=args.seed)
    if args.out is not None:
        written = sample.write_images(args.out, args.images)
        output.note(f"{len(written)} pictures in {args.out}")
    return _table(args, sample.table, "no frames")


def _table(args: argparse.Namespace, frame: pd.DataFrame, nothing: str) -> int:
    rows: list[dict[str, Any]] = frame.to_dict(orient="records")  # type: ignore[assignment]
    if args.json:
        output.say_json({"rows": rows})
        return 0
    if not rows:
        output.note(nothing)
        return 0
    heads = tuple(str(name).upper() for name in frame.columns)
    cells = [tuple(_cell(value) for value in row.values()) for row in rows]
    for line in output.table(heads, cells, right=frozenset()):
        output.say(line)
    return 0


def _cell(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _lineage(args: argparse.Namespace) -> int:
    from gapless.features.dataset import Dataset
    from gapless.features.result import Result

    if not args.names:
        raise UsageError("lineage needs FEATURE", next_step="`gapless features lineage FEATURE [RUN]`")
    with Dataset(options.existing_store(args)) as ds:
        wanted: Result[str] = Result(
            feature=args.names[0], run_id=args.names[1] if len(args.names) > 1 else None
        )
        storage, run_id = ds.resolve(wanted)
        if args.openlineage:
            output.say_json(ds.registry.open_lineage(storage, run_id))
            return 0
        tree = ds.registry.lineage(storage, run_id, deep=True)
    if args.json:
        output.say_json(tree)
    else:
        for line in _tree_lines(tree, ""):
            output.say(line)
    return 0


def _tree_lines(node: dict[str, Any], indent: str) -> list[str]:
    lines = [f"{indent}{node['feature']} {node['run_id']}"]
    lines += [
        f"{indent}  sequence {source['sequence']}  {source.get('content_digest') or ''}".rstrip()
        for source in node.get("sequences", [])
    ]
    for upstream in node.get("upstream", []):
        lines += _tree_lines(upstream, indent + "  ")
    return lines


def _list(args: argparse.Namespace) -> int:
    from gapless.features.dataset import Dataset

    with Dataset(options.existing_store(args)) as ds:
        registry = ds.registry
        names = args.names or registry.list_features()
        rows = [
            {"feature": name, **{key: row[key] for key in ("run_id", "version", "started_at", "finished_at")},
             "entries": registry.entry_count(name, row["run_id"])}
            for name in names
            for row in registry.list_runs(name).to_dict(orient="records")
        ]  # fmt: skip
    import pandas as pd

    columns = ["feature", "run_id", "version", "started_at", "finished_at", "entries"]
    return _table(args, pd.DataFrame(rows, columns=columns), "no feature has run in this store yet")
