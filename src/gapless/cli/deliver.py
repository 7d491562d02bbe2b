"""Deliver what a spool holds: recordings that went on while their server was away.

Each sequence goes on where the server's rows end and is ended there as its recorder meant it; one whose
recorder died is sealed as `interrupted`. Where the server's part was sealed meanwhile, the rest becomes a layer of
it. One whose name another recording has on the server is refused; --rename gives it another, for good, and leaves
its rows and its uid as they are. Of one that was discarded there, --rename delivers what is here as a sequence of
its own. What was delivered moves to the spool's trash; what was not stays, and the exit code is the worst. A
recording that still goes on is left alone. The key comes from GAPLESS_API_KEY.
"""

from __future__ import annotations

import argparse
import contextlib
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
        "--own",
        action="store_true",
        help="leave alone what was recorded for another URL than this one",
    )
    parser.add_argument(
        "--tls-roots",
        metavar="PEM",
        default=None,
        help="certificates to trust, for grpc+tls (else $GAPLESS_TLS_ROOTS)",
    )
    parser.add_argument(
        "--rename",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="deliver OLD as NEW if another recording has its name on the server, or if it was discarded there",
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
    foreign = _foreign(folder, args.to) if args.own else {}
    if args.dry_run:
        return _foretell(folder, args.to, renames, foreign, as_json=args.json)
    tls_roots = args.tls_roots
    if tls_roots is None and args.to.lower().startswith("grpc+tls://"):
        tls_roots = os.environ.get("GAPLESS_TLS_ROOTS") or None
    roots = None if tls_roots is None else _read(tls_roots)
    endpoint = Endpoint.of(args.to, key=os.environ.get("GAPLESS_API_KEY") or None, tls_roots=roots)
    pool = ConnectionPool(endpoint)
    try:
        done, hindered = deliver_all(
            folder, pool, timeout_s=_CALL_S, from_anywhere=not args.own, renames=renames
        )
    finally:
        pool.close()
    _print(done, as_json=args.json)
    for name, url in foreign.items():
        output.note(f"{name} was recorded for {url}: left alone")
    return _tell_hindered({name: error for name, error in hindered.items() if name not in foreign})


def _foreign(folder: Path, url: str) -> dict[str, str]:
    """Return for which servers the rest of what waits was recorded, by name; what cannot be read is not among it."""
    from gapless.client.remote.spool import SpoolStore, name_in, recorded_for

    found: dict[str, str] = {}
    for bundle in SpoolStore(folder).waiting():
        with contextlib.suppress(GaplessError):  # whoever delivers it meets it again, and tells
            found[name_in(bundle)] = recorded_for(bundle)
    return {name: its_url for name, its_url in found.items() if its_url != url}


def _tell_hindered(hindered: dict[str, GaplessError]) -> int:
    """Print what is not delivered and why; return the worst exit code."""
    for name, error in hindered.items():
        output.note(f"error: {name}: {error}")
    return max((error.exit_code for error in hindered.values()), default=0)


def _renames(words: list[str], folder: Path) -> dict[str, str]:
    """Return the new names by the old ones, which may hold any sign; NotFound for a sequence that does not wait."""
    from gapless.client.remote.spool import SpoolStore, name_in
    from gapless.model.names import check_sequence_name

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
        found[old] = check_sequence_name(word.removeprefix(f"{old}="))
    return found


def _foretell(folder: Path, url: str, renames: dict[str, str], left: dict[str, str], *, as_json: bool) -> int:
    """Print what waits and would be delivered; the server is not asked. Return the exit code of what would not."""
    from gapless.client.remote.spool import SpoolStore, name_in, noted_name, recorded_for
    from gapless.store.recover import read_header

    noted: dict[str, tuple[str | None, str]] = {}
    hindered: dict[str, GaplessError] = {}
    for bundle in SpoolStore(folder).waiting():
        if name_in(bundle) in left:
            continue
        try:
            noted[name_in(bundle)] = noted_name(bundle, read_header(bundle)), recorded_for(bundle)
        except GaplessError as error:
            hindered[name_in(bundle)] = error
    if as_json:
        known = {"dry_run": True, "to": url}
        output.say_json(
            [
                known | {"name": n, "rename": renames.get(n), "noted": other, "recorded_for": meant_for}
                for n, (other, meant_for) in noted.items()
            ]
        )
    else:
        for name, (other, meant_for) in noted.items():
            own = "" if other is None else f" as {other}, which an earlier delivery noted"
            rename = f" (as {renames[name]} if its name is taken there)" if name in renames else ""
            elsewhere = "" if meant_for == url else f", recorded for {meant_for}"
            output.say(f"would deliver {name} to {url}{own}{rename}{elsewhere}")
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
        own += "" if one.layer_of is None else f", a layer of {one.layer_of}"
        output.say(f"{one.name}{own}: {one.outcome or one.ending}, {rows} from the spool{digest}")
