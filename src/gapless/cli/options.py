"""The arguments that verbs share: which store, which sequence, JSON, dry run, durations."""

from __future__ import annotations

import argparse
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from gapless.errors import NotFound, UsageError
from gapless.model.names import to_component

if TYPE_CHECKING:
    from gapless.catalog.catalog import Catalog, SequenceRow
    from gapless.cli.local_store import LocalStore
    from gapless.cli.remote_store import RemoteStore
    from gapless.client.client import Client

    OpenedStore: TypeAlias = LocalStore | RemoteStore

DEFAULT_STORE = "./gapless-data"
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}")  # host:port, as other programs name a server
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|min|h)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, None: 1.0}
_INT64 = range(-(2**63), 2**63)  # what SQLite, Arrow and every time of a row hold
_LONGEST_S = 9e9  # int64 nanoseconds, and what a thread can wait, end shortly above
_LONGEST_WAIT_S = 2_000_000.0  # a socket counts its milliseconds in 32 bits
_MOST_DAYS = 1e5
_SHOWN = 40


def add_store(parser: argparse.ArgumentParser) -> None:
    """Declare --store."""
    parser.add_argument(
        "--store",
        metavar="URL",
        default=None,
        help="the store: a folder, a file: URL or, for verbs that can, a server: grpc://host:6726"
        " (else $GAPLESS_STORE, else ./gapless-data)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare --json."""
    parser.add_argument("--json", action="store_true", help="print JSON with stable keys")


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Declare --dry-run."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")


def add_reference(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Declare the sequence a verb works on."""
    text = "sequence: its name, a unique prefix, @last or @last-1"
    if optional:
        parser.add_argument("ref", metavar="REF", nargs="?", default=None, help=text)
    else:
        parser.add_argument("ref", metavar="REF", help=text)


def store_url(args: argparse.Namespace) -> str:
    """Return the store that the command line, the environment or the default names."""
    url = str(args.store or os.environ.get("GAPLESS_STORE") or DEFAULT_STORE)
    if not is_text(url):
        raise UsageError("a store's name is UTF-8", found=url, next_step="rename the folder")
    return url


def is_text(value: str) -> bool:
    """Return whether a value is text: Python gives bytes that are no UTF-8 as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_server(url: str) -> bool:
    """Return whether a store's URL means a server."""
    return url.lower().startswith(("grpc://", "grpc+tls://"))


def open_store(args: argparse.Namespace, *, may_be_missing: bool = False) -> OpenedStore:
    """Return the store to work on, a folder or a server, to be used in a with-block.

    Raises NotFound for a folder that holds none, unless it may be missing.
    """
    url = store_url(args)
    if is_server(url):
        from gapless.cli.remote_store import RemoteStore

        return RemoteStore(url)
    from gapless.cli.local_store import LocalStore

    return LocalStore(store_root(args) if may_be_missing else existing_store(args))


def store_root(args: argparse.Namespace) -> Path:
    """Return the folder of the store that the command line, the environment or the default names."""
    url = store_url(args)
    parts = urlsplit(url)
    if is_server(url):
        raise UsageError(
            "this works on a folder, not through a server",
            found=url,
            next_step="run it on the server's machine, with --store FOLDER",
        )
    if "://" in url and (parts.scheme != "file" or parts.netloc not in ("", "localhost")):
        raise UsageError("a store is a folder, a file: URL or a server", found=url,
                         expected="./data, file:///data or grpc://host:6726")  # fmt: skip
    root = Path(unquote(parts.path)) if parts.scheme == "file" else Path(url).expanduser()
    if _ADDRESS.fullmatch(url) and not root.exists():
        raise UsageError("this looks like a server, not like a folder", found=url, expected=f"grpc://{url}",
                         next_step=f"a folder of that name is ./{url}")  # fmt: skip
    if root.exists() and not root.is_dir():
        raise UsageError(
            "the store is a folder, and this is none", found=url, next_step="name a folder with --store"
        )
    return root


def is_store(root: Path) -> bool:
    """Return whether a folder holds a store."""
    return (root / "gapless.json").exists() or (root / "sequences").is_dir()


def existing_store(args: argparse.Namespace) -> Path:
    """Return the folder of a store that exists, or raise NotFound saying how to make one."""
    root = store_root(args)
    if not is_store(root):
        raise NotFound(
            f"there is no store in {root}",
            next_step="`gapless demo` records a first sequence; --store names another folder",
        )
    return root


def open_catalog(root: Path) -> Catalog:
    """Return the catalog of a store, brought up to date with the folders on disk."""
    from gapless.catalog import Catalog

    catalog = Catalog(root)
    catalog.reconcile()
    return catalog


def find_sequence(args: argparse.Namespace) -> tuple[Path, SequenceRow]:
    """Return the store and the sequence that the reference names; raises NotFound."""
    root = existing_store(args)
    return root, open_catalog(root).sequence(args.ref)


def bundle_path(root: Path, name: str) -> Path:
    """Return the folder of a sequence."""
    return root / "sequences" / to_component(name)


def seconds(text: str) -> float:
    """Return the seconds that a duration such as `30s`, `500ms`, `5m` or `2h` means (for argparse)."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 500ms, 30s, 5m or 2h")
    value = float(found[1]) * _UNIT_S[found[2]]
    if value > _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is too long; a duration ends at {_LONGEST_S:g} s")
    return value


def positive_seconds(text: str) -> float:
    """Return the seconds of a duration above zero (for argparse)."""
    value = seconds(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return value


def wait_seconds(text: str) -> float:
    """Return the seconds that a socket can wait for an answer (for argparse)."""
    value = positive_seconds(text)
    if value > _LONGEST_WAIT_S:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is too long; a wait ends at {_LONGEST_WAIT_S:g} s")
    return value


def positive(text: str) -> float:
    """Return a number above zero (for argparse)."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return value


def number(text: str) -> float:
    """Return a finite number (for argparse)."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is no number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{_cut(text)} is no finite number")
    return value


def days(text: str) -> float:
    """Return a number of days after which something ends (for argparse)."""
    value = positive(text)
    if value >= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is too long; write less than {_MOST_DAYS:g} days")
    return value


def whole(text: str) -> int:
    """Return a whole number above zero (for argparse)."""
    value = integer(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not above zero")
    return value


def integer(text: str) -> int:
    """Return a whole number of 64 bits (for argparse)."""
    try:
        value = int(text)
    except ValueError:  # Python reads no more than 4300 digits
        raise argparse.ArgumentTypeError(f"{_cut(text)} is no whole number") from None
    if value not in _INT64:
        raise argparse.ArgumentTypeError(f"{_cut(text)} has more than 64 bits")
    return value


def port(text: str) -> int:
    """Return the number of a port (for argparse); 0 is one that is free."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is no port; write 0 to 65535")
    return int(text)


def _cut(text: str) -> str:
    """Return what was written, short enough for a line."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def connect(root: Path) -> Client:
    """Return a client of the store in a folder; opening it makes the store."""
    from gapless.client.client import connect as open_client

    return open_client(str(root))


def user_name() -> str | None:
    """Return the name of the user, or None in a container that has none."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # which one depends on the Python release and the system
        return None
