"""The Tiled server over a store: a free port, a key, and the signals that end it."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import threading
from typing import Any

from gapless.cli import options, output
from gapless.errors import MissingExtra, StateError, UsageError

_PATIENCE_S = 5
_LOOK_S = 0.05


def serve_tiled(args: argparse.Namespace, port: int) -> int:
    """Serve through Tiled until stopped."""
    root = options.existing_store(args)
    known = args.api_key or os.environ.get("TILED_SINGLE_USER_API_KEY")
    if known is not None and not known.isalnum():
        raise UsageError("a key is made of letters and digits", field="--api-key")
    key = known or secrets.token_hex(32)
    from gapless.bluesky.tiled import application

    app = application(root, api_key=key, public=args.public, external_roots=args.external_root)
    with _listening(args.host, port) as bound:
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
