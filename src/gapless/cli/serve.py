"""Serve a store, read-only, until Ctrl-C or SIGTERM: `gapless serve STORE --tiled`.

--tiled starts the real Tiled server over it: its Python client, its web page and its exports then work on
sequences, topics, Bluesky runs, external data and feature outputs, open recordings included. It listens on
this machine only and wants the key that is printed; --public lets anyone read. Files that runs point to are
read below --external-root only, such as the folder of a detector: --external-root /data/eiger. In a Tiled
configuration the same tree is `gapless.bluesky.tiled:tree` with `args: {root: STORE, external_roots: [DIR]}`.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import threading
from typing import Any

from gapless.cli import options, output
from gapless.errors import MissingExtra, StateError, UsageError

_PORT = 8000
_PATIENCE_S = 5
_LOOK_S = 0.05


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "place", metavar="STORE", nargs="?", default=None, help="the store; the same as --store STORE"
    )
    options.add_store(parser)
    parser.add_argument("--tiled", action="store_true", help="serve it through the Tiled server")
    parser.add_argument("--host", metavar="HOST", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument(
        "--port", metavar="PORT", type=_port, default=_PORT, help=f"the port ({_PORT}); 0: one that is free"
    )
    parser.add_argument(
        "--external-root",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder whose files may be served when a run points to them; may be given more than once",
    )
    access = parser.add_mutually_exclusive_group()
    access.add_argument(
        "--api-key",
        metavar="KEY",
        default=None,
        help="who has it may read (else $TILED_SINGLE_USER_API_KEY, else one is made up and printed)",
    )
    access.add_argument("--public", action="store_true", help="anyone who can connect may read")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    if not args.tiled:
        raise UsageError("say how to serve it", field="--tiled", next_step="`gapless serve STORE --tiled`")
    if args.place is not None:
        if args.store is not None:
            raise UsageError("the store is named twice", found=f"{args.place}, {args.store}", field="--store")
        args.store = args.place
    root = options.existing_store(args)
    known = args.api_key or os.environ.get("TILED_SINGLE_USER_API_KEY")
    if known is not None and not known.isalnum():
        raise UsageError("a key is made of letters and digits", field="--api-key")
    key = known or secrets.token_hex(32)
    from gapless.bluesky.tiled import application

    app = application(root, api_key=key, public=args.public, external_roots=args.external_root)
    with _listening(args.host, args.port) as bound:
        _serve(app, bound, "" if args.public or known else f"?api_key={key}", public=args.public)
    return 0


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise StateError(
            "it is not possible to listen there",
            found=f"{host}:{port}: {error.strerror}",
            next_step="`--port 0` takes a free port",
        ) from error
    return bound


def _serve(app: Any, bound: socket.socket, key: str, *, public: bool) -> None:
    """Serve on a thread; this one waits for the signals."""
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "serving needs uvicorn, which is not installed", next_step="pip install 'gapless[bluesky]'"
        ) from error
    from gapless.cli.stopping import StopSignals

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=_PATIENCE_S)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="tiled server")
    with StopSignals() as stop:
        thread.start()
        while not server.started and thread.is_alive() and not stop.wait(_LOOK_S):
            pass
        if server.started:
            _tell(bound, key, public=public)
        while thread.is_alive() and not stop.wait(_LOOK_S * 10):
            pass
        server.should_exit = True
        thread.join()
    if not stop.stopped:
        raise StateError("the server ended by itself", next_step="the lines above say why")


def _tell(bound: socket.socket, key: str, *, public: bool) -> None:
    host, port = bound.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if public:
        output.note("warning: anyone who can connect may read everything in the store")
    elif host not in ("127.0.0.1", "::1"):
        output.note("warning: the key and the data are sent as they are: this is not TLS")
    print(f"serving on {url}{key}", flush=True)
    print(f"web page: {url}/ui/{key}", flush=True)
