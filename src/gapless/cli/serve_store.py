"""A store over the network: says where and to whom, and drains when it is stopped."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gapless.cli import options, output
from gapless.errors import NotFound, UsageError

if TYPE_CHECKING:
    import ssl

    from gapless.serve.operations.operations import Operations, Shown
    from gapless.serve.server import Server
    from gapless.serve.tls import Identity

# A signal that another thread of the process gets is seen when the main thread looks up next.
_LOOK_S = 0.25
EXIT_STUCK = 1


def serve_store(
    args: argparse.Namespace, port: int, *, opened: Callable[[str | None], object] | None = None
) -> int:
    """Serve until stopped; a store that is not there yet is made.

    ``opened`` is called once everything answers, with the page's URL, None where there is no page.
    """
    # The transport writes about each broken connection to stderr; what matters reaches the log as an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from gapless.cli.stopping import StopSignals
    from gapless.serve.limits import Limits
    from gapless.serve.operations.log_lines import write_log
    from gapless.serve.server import DRAIN_S, Server

    write_log(args.log_format or "text")
    root = options.store_root(args)
    limits = Limits(**_limits(args))
    shown = _shown(args)
    server = Server(root, args.host, port, insecure=args.insecure, tls=_identity(args), limits=limits)
    is_new = not (root / "gapless.json").exists()
    with StopSignals() as stop:
        server.start()
        operations = _operations(server, args, shown)
        _tell(server, operations, args)
        if is_new:
            _note(args, f"made a new store in {root}")
        if opened is not None:
            opened(_page_url(operations))
        while not stop.wait(_LOOK_S):
            pass
        _note(args, "stopping: what was accepted is durable; Ctrl-C again ends at once")
        with ThreadPoolExecutor(1, "gapless drain") as pool:
            stopping = pool.submit(operations.stop, DRAIN_S if args.drain is None else args.drain)
            while wait([stopping], _LOOK_S).not_done:
                pass
            ended = stopping.result()
    if not ended:  # a thread of the transport hangs in a call: only the end of the process ends it
        _note(args, "a request did not end; the process ends without it")
        sys.stdout.flush()
        os._exit(EXIT_STUCK)
    return 0


def _operations(server: Server, args: argparse.Namespace, shown: Shown) -> Operations:
    """Return what watches over a server that has started, begun; without it there is no server either."""
    from gapless.serve.address import Address
    from gapless.serve.operations.operations import Operations
    from gapless.serve.operations.retention import EVERY_S

    try:
        operations = Operations(
            server,
            http=None if args.no_http else Address(args.host, args.http_port),
            tls=None if args.tls_cert is None else _context(args),
            retention_s=EVERY_S if args.retention is None else args.retention,
            shown=shown,
        )
        operations.start()
    except BaseException:
        server.stop(0.0)
        raise
    return operations


def _shown(args: argparse.Namespace) -> Shown:
    """Return what the page shows beside the store; NotFound for a file that there is not."""
    from gapless.serve.operations.operations import Shown

    for option, files in (("--pipeline", args.pipeline), ("--hub", [args.hub] if args.hub else [])):
        for file in files:
            if not Path(file).is_file():
                raise NotFound(
                    "there is no such file", found=file, field=option, next_step=f"name a file with {option}"
                )
    hub = None if args.hub is None else Path(args.hub).resolve()
    return Shown(tuple(Path(file).resolve() for file in args.pipeline), hub, tuple(args.http_host))


def _limits(args: argparse.Namespace) -> dict[str, Any]:
    names = ("max_writers", "max_connections", "max_batch_bytes")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _identity(args: argparse.Namespace) -> Identity | None:
    if args.tls_cert is None:
        if args.tls_key is not None:
            raise UsageError(
                "a key needs its certificate", field="--tls-key", next_step="give --tls-cert too"
            )
        return None
    from gapless.serve.tls import read_identity

    return read_identity(Path(args.tls_cert), None if args.tls_key is None else Path(args.tls_key))


def _context(args: argparse.Namespace) -> ssl.SSLContext:
    """Return what HTTP is encrypted with: the certificate of the server, which has read it before."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args.tls_cert, args.tls_key)
    return context


def _tell(server: Server, operations: Operations, args: argparse.Namespace) -> None:
    print(f"serving on {server.place}", flush=True)
    if server.asks_for_keys:
        _note(args, "callers need a key (GAPLESS_API_KEY); `gapless keys make` makes one")
    elif server.local:
        _note(args, "no key is asked for: programs of this machine may do everything")
    else:
        _note(args, "warning: whoever can connect may read, change and delete everything")
    if args.tls_cert is None and not server.local:
        _note(args, "warning: data and keys are sent as they are: this is not TLS (--tls-cert)")
    page = _page_url(operations)
    if page is not None:
        _note(args, f"page: {page}")
    elif operations.url is not None:
        _note(args, "no page: `pip install 'gapless[serve]'` adds it")
    figures = "" if operations.url is None else f" {operations.url}/metrics has figures;"
    _note(args, f'next: gapless.connect("{server.url}");{figures} Ctrl-C stops')


def _page_url(operations: Operations) -> str | None:
    """Return where a browser of this machine finds the page, None where there is none."""
    if operations.url is None or not operations.has_pages:
        return None
    parts = urlsplit(operations.url)
    own = parts.hostname in ("127.0.0.1", "0.0.0.0", "::")
    return f"{parts.scheme}://localhost:{parts.port}" if own else f"{parts.scheme}://{parts.netloc}"


def _note(args: argparse.Namespace, text: str) -> None:
    """Say something to the person who serves; a program that reads the log gets it as a line like all others."""
    if args.log_format == "json":
        from gapless.serve.operations.log_lines import tell

        tell(logging.getLogger("gapless.serve"), logging.INFO, "note", text)
    else:
        output.note(text)
