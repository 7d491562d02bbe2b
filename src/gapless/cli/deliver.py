"""Deliver what a spool holds: recordings that went on while their server was away.

Each sequence goes on where the server's rows end and is ended there as its recorder meant it; one whose
recorder died is sealed as `interrupted`. One whose name another recording has on the server is refused; --rename
gives it another, for good, and leaves its rows and its uid as they are. What was delivered moves to the spool's
trash; what was not stays, and the exit code is the worst. A recording that still goes on is left alone. The key
comes from GAPLESS_API_KEY.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.cli import options, output
from gapless.errors import GaplessError, NotFound, UsageError

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
    parser.add_argument(
        "--rename",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="deliver OLD as NEW if another recording has its name on the server",
    )
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Deliver and print what arrived."""
    from gapless.client.remote.connection import Endpoint
    from gapless.client.remote.connection_pool import ConnectionPool
    from gapless.client.remote.deliver import deliver_all

    folder = Path(args.spool).expanduser()
    if not (folder / "spool").is_dir():
        raise NotFound(
            "there is no spool in this folder", found=str(folder), next_step="name the folder of spool="
        )
    renames = _renames(args.rename, folder)
    if args.dry_run:
        return _foretell(folder, args.to, renames, as_json=args.json)
    roots = None if args.tls_roots is None else _read(args.tls_roots)
    endpoint = Endpoint.of(args.to, key=os.environ.get("GAPLESS_API_KEY") or None, tls_roots=roots)
    pool = ConnectionPool(endpoint)
    try:
        done, hindered = deliver_all(folder, pool, timeout_s=_CALL_S, renames=renames)
    finally:
        pool.close()
    _print(done, as_json=args.json)
    return _tell_hindered(hindered)


def _tell_hindered(hindered: dict[str, GaplessError]) -> int:
    """Print what is not delivered and why; return the worst exit code."""
    for name, error in hindered.items():
        output.note(f"error: {name}: {error}")
    return max((error.exit_code for error in hindered.values()), default=0)


def _renames(words: list[str], folder: Path) -> dict[str, str]:
    """Return the new names by the old ones, which may hold any sign; NotFound for a sequence that does not wait."""
    from gapless.client.remote.spool import SpoolStore, name_in
    from gapless.model.names import check_sequence_name
    from gapless.store.recover import read_header

    waiting = {name_in(bundle): bundle for bundle in SpoolStore(folder).waiting()} if words else {}
    found = {}
    for word in words:
        old = max((name for name in waiting if word.startswith(f"{name}=")), key=len, default=None)
        if old is None:
            raise NotFound(
                "what is to be renamed does not wait in this spool",
                field="--rename",
                found=word,
                expected="OLD=NEW",
                next_step="`gapless deliver --dry-run` lists what waits",
            )
        if old in found:
            raise UsageError("one sequence is given two names", field="--rename", found=word)
        if read_header(waiting[old])["base"] is not None:
            raise UsageError("layers may share a name: none needs another", field="--rename", found=word)
        found[old] = check_sequence_name(word.removeprefix(f"{old}="))
    return found


def _foretell(folder: Path, url: str, renames: dict[str, str], *, as_json: bool) -> int:
    """Print what waits and would be delivered; the server is not asked. Return the exit code of what would not."""
    from gapless.client.remote.spool import SpoolStore, name_in, noted_name
    from gapless.store.recover import read_header

    noted: dict[str, str | None] = {}
    hindered: dict[str, GaplessError] = {}
    for bundle in SpoolStore(folder).waiting():
        try:
            noted[name_in(bundle)] = noted_name(bundle, read_header(bundle))
        except GaplessError as error:
            hindered[name_in(bundle)] = error
    if as_json:
        known = {"dry_run": True, "to": url}
        output.say_json(
            [known | {"name": n, "rename": renames.get(n), "noted": as_} for n, as_ in noted.items()]
        )
    else:
        for name, other in noted.items():
            own = "" if other is None else f" as {other}, which an earlier delivery noted"
            rename = f" (as {renames[name]} if its name is taken there)" if name in renames else ""
            output.say(f"would deliver {name} to {url}{own}{rename}")
    return _tell_hindered(hindered)


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
        own = "" if one.recorded_as == one.name else f" (recorded as {one.recorded_as})"
        output.say(f"{one.name}{own}: {one.outcome or one.ending}, {rows} from the spool{digest}")
