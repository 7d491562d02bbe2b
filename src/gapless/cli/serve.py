"""Serve a store over the network until Ctrl-C or SIGTERM: `gapless serve STORE`.

Clients open it with gapless.connect("grpc://HOST:6726"), and programs that use the Mosaico SDK connect to the
same port. Without keys it serves this machine only; `gapless keys make` makes keys, and from then on everyone
needs one. --tls-cert encrypts. Ctrl-C drains: what was accepted is durable, and what is not committed stays
open; a second Ctrl-C ends at once. http://HOST:8686 has the page and the HTTP API (with gapless[serve]), and
/healthz, /readyz and /metrics for Prometheus. --pipeline and --hub show pipelines and an approval hub there.

--tiled starts the real Tiled server over the store instead, read-only: its Python client, its web page and its
exports then work on sequences, topics, Bluesky runs, external data and feature outputs, open recordings included.
It wants the key that is printed; --public lets anyone read. Files that runs point to are read below
--external-root only, such as the folder of a detector: --external-root /data/eiger. In a Tiled configuration
the same tree is `gapless.bluesky.tiled:tree` with `args: {root: STORE, external_roots: [DIR]}`.
"""

from __future__ import annotations

import argparse

from gapless.cli import options
from gapless.errors import UsageError

_HOST = "127.0.0.1"
_PORT = 6726
_HTTP_PORT = 8686
_TILED_PORT = 8000
_TILED_ONLY = ("external_root", "api_key", "public")
_STORE_ONLY = (
    "insecure",
    "tls_cert",
    "tls_key",
    "max_writers",
    "max_connections",
    "max_batch_bytes",
    "drain",
    "http_port",
    "no_http",
    "http_host",
    "pipeline",
    "hub",
    "log_format",
    "retention",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "place", metavar="STORE", nargs="?", default=None, help="the store; the same as --store STORE"
    )
    options.add_store(parser)
    parser.add_argument("--host", metavar="HOST", default=_HOST, help=f"where to listen ({_HOST})")
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=options.port,
        default=None,
        help=f"the port ({_PORT}; {_TILED_PORT} with --tiled); 0: one that is free",
    )
    _declare_store(parser)
    _declare_tiled(parser)


def _declare_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="serve other machines although the store has no key: who can connect may do everything",
    )
    parser.add_argument(
        "--tls-cert", metavar="FILE", default=None, help="certificate chain, PEM: listen with TLS"
    )
    parser.add_argument(
        "--tls-key", metavar="FILE", default=None, help="its private key, if not in that file"
    )
    for name, what in (
        ("--max-writers", "sequences being written at one time (256)"),
        ("--max-connections", "connections with a request going on (512)"),
        ("--max-batch-bytes", "the largest record batch that is taken (67108864)"),
    ):
        parser.add_argument(name, metavar="N", type=options.whole, default=None, help=what)
    parser.add_argument(
        "--drain",
        metavar="TIME",
        type=options.seconds,
        default=None,
        help="how long Ctrl-C waits for requests that go on (5s)",
    )
    _declare_operations(parser)


def _declare_operations(parser: argparse.ArgumentParser) -> None:
    http = parser.add_mutually_exclusive_group()
    http.add_argument(
        "--http-port",
        metavar="PORT",
        type=options.port,
        default=None,
        help=f"where the page, /healthz, /readyz and /metrics are ({_HTTP_PORT}); 0: one that is free, also with"
        " --port 0",
    )
    http.add_argument("--no-http", action="store_true", help="no page, no health and no figures over HTTP")
    parser.add_argument(
        "--http-host",
        metavar="NAME",
        action="append",
        default=[],
        help="a name by which browsers ask for the page, such as a proxy's; may be repeated",
    )
    parser.add_argument(
        "--pipeline",
        metavar="FILE",
        action="append",
        default=[],
        help="a pipeline (.toml, .py) whose steps the page shows; looking at it runs its code; may be repeated",
    )
    parser.add_argument(
        "--hub", metavar="FILE", default=None, help="the database of `gapless hub serve`: approve on the page"
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default=None,
        help="on stderr: warnings as text, or everything as one JSON object in each line (text)",
    )
    parser.add_argument(
        "--retention",
        metavar="TIME",
        type=options.positive_seconds,
        default=None,
        help="how often what was discarded more than 24 hours ago is deleted (10m)",
    )


def _declare_tiled(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tiled", action="store_true", help="serve it through the Tiled server")
    parser.add_argument(
        "--external-root",
        metavar="DIR",
        action="append",
        default=[],
        help="with --tiled: a folder whose files may be served when a run points to them; may be repeated",
    )
    access = parser.add_mutually_exclusive_group()
    access.add_argument(
        "--api-key",
        metavar="KEY",
        default=None,
        help="with --tiled: who has it may read (else $TILED_SINGLE_USER_API_KEY, else one is made up and printed)",
    )
    access.add_argument("--public", action="store_true", help="with --tiled: anyone who can connect may read")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    if args.place is not None:
        if args.store is not None:
            raise UsageError("the store is named twice", found=f"{args.place}, {args.store}", field="--store")
        args.store = args.place
    foreign = _STORE_ONLY if args.tiled else _TILED_ONLY
    for name in foreign:
        if getattr(args, name) not in (None, False, []):
            word = "without" if args.tiled else "with"
            raise UsageError(f"this option works {word} --tiled only", field=f"--{name.replace('_', '-')}")
    if args.tiled:
        from gapless.cli.serve_tiled import serve_tiled

        return serve_tiled(args, _TILED_PORT if args.port is None else args.port)
    from gapless.cli.serve_store import serve_store

    if args.http_port is None:
        args.http_port = 0 if args.port == 0 else _HTTP_PORT
    return serve_store(args, _PORT if args.port is None else args.port)
