"""Deliver what a spool holds: recordings that went on while their server was away.

Each sequence goes on where the server's rows end and is ended there as its recorder meant it; one whose
recorder died is sealed as `interrupted`. What was delivered moves to the spool's trash; what was not stays,
and the exit code is the worst. A recording that still goes on is left alone. The key comes from GAPLESS_API_KEY.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.cli import options, output
from gapless.errors import NotFound, UsageError

if TYPE_CHECKING:
    from gapless.client.remote.deliver import Delivered

_CALL_S = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--spool", metavar="DIR", required=True, help="the folder given as spool= when recording"
    )
    parser.add_argument("--to", metavar="URL", required=True, help="the server, as grpc://host:6726")
    parser.add_argument(
        "--tls-roots", metavar="PEM", default=None, help="certificates to trust, for grpc+tls"
    )
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Deliver and print what arrived."""
    from gapless.client.remote.connection import Endpoint
    from gapless.client.remote.connection_pool import ConnectionPool
    from gapless.client.remote.deliver import deliver_all
    from gapless.client.remote.spool import SpoolStore, name_in

    folder = Path(args.spool).expanduser()
    if not (folder / "spool").is_dir():
        raise NotFound(
            "there is no spool in this folder", found=str(folder), next_step="name the folder of spool="
        )
    if args.dry_run:
        for bundle in SpoolStore(folder).waiting():
            output.say(f"would deliver {name_in(bundle)} to {args.to}")
        return 0
    roots = None if args.tls_roots is None else _read(args.tls_roots)
    endpoint = Endpoint.of(args.to, key=os.environ.get("GAPLESS_API_KEY") or None, tls_roots=roots)
    pool = ConnectionPool(endpoint)
    try:
        done, hindered = deliver_all(folder, pool, timeout_s=_CALL_S)
    finally:
        pool.close()
    _print(done, as_json=args.json)
    for name, error in hindered.items():
        output.note(f"error: {name}: {error}")
    return max((error.exit_code for error in hindered.values()), default=0)


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UsageError("the certificates to trust cannot be read", found=str(error)) from error


def _print(done: list[Delivered], *, as_json: bool) -> None:
    if as_json:
        output.say_json([one.to_json() for one in done])
        return
    if not done:
        output.say("nothing was delivered")
    for one in done:
        rows = f"{sum(one.rows.values()):,} rows"
        digest = f", {one.content_digest}" if one.content_digest else ""
        output.say(f"{one.name}: {one.outcome or one.ending}, {rows} from the spool{digest}")
