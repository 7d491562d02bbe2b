"""A store of 10,000 sequences: `ls`, `show` and the first look of a new catalog, against a store of ten."""

from __future__ import annotations

from pathlib import Path

from bench_startup import _GAPLESS, spent_by
from harness import Bench, cost, main
from many_sequences import make_sequences

from gapless.catalog.catalog import Catalog


def run(bench: Bench) -> None:
    count = bench.size(10_000, 60)
    few = 10
    folder = bench.folder("many")
    program = folder / "program.py"
    program.write_text(_GAPLESS, encoding="utf-8")
    large, small = folder / "large", folder / "small"
    make_sequences(large, count)
    make_sequences(small, few)
    with cost() as first:
        _open(large)
    _open(small)
    bench.limit(
        f"first look at {count:,} new sequences", "CPU ms/sequence", [first.cpu_ns / 1e6 / count], None,
        note="reading every manifest into an empty catalog",
    )  # fmt: skip
    verbs = {
        "ls --last 20": lambda store: ["ls", "--last", "20", "--store", str(store)],
        "ls": lambda store: ["ls", "--store", str(store)],
        "show": lambda store: ["show", "run-00005", "--store", str(store)],
    }
    for verb, arguments in verbs.items():
        found = bench.interleave(
            {
                name: (
                    lambda store=store, arguments=arguments: spent_by([str(program), *arguments(store)])[0]
                )
                for name, store in (("large", large), ("small", small))
            }
        )
        bench.compare(
            f"gapless {verb}, {count:,} sequences",
            "CPU ms",
            found["large"],
            f"{few} sequences",
            found["small"],
        )


def _open(root: Path) -> None:
    with Catalog(root) as catalog:
        catalog.reconcile()


if __name__ == "__main__":
    raise SystemExit(main(run))
