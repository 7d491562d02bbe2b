"""The control socket's server: a thread and loop of its own beside the run, which it never holds up."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from pathlib import Path

from gapless.acquire.control import messages
from gapless.acquire.control.calls import BoundedCalls
from gapless.acquire.control.connection import Connection
from gapless.acquire.control.run_control import RunControl
from gapless.acquire.control.socket_place import new_socket_path, release
from gapless.errors import ControlFailed, DeadlinePassed

MAX_CLIENTS = 64
_START_S = 10.0
_CLOSE_S = 5.0
_FINISH_S = 1.0
_SOCKET_MODE = 0o600


class ControlServer:
    """Serves the control socket of one run from :meth:`start` to :meth:`close`, at :attr:`path`.

    The socket has the mode 0600, lies in a folder that only this user can enter, and takes requests of this
    user and of root.
    """

    def __init__(self, run: RunControl, path: Path | None = None) -> None:
        self._run = run
        self._given = path
        self._path: Path | None = None
        self._calls = BoundedCalls()
        self._clients: set[Connection] = set()
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="gapless-control", daemon=True)

    @property
    def path(self) -> Path:
        """Where the socket is; raises ControlFailed before the start."""
        if self._path is None:
            raise ControlFailed("the control socket is not open")
        return self._path

    def start(self) -> None:
        """Open the socket and serve it; returns when clients can connect. Raises ControlFailed."""
        self._path = self._given or new_socket_path()
        self._thread.start()
        try:
            self._ready.result(_START_S)
        except (OSError, TimeoutError) as error:
            raise ControlFailed(
                "the control socket cannot be opened", found=f"{self._path}: {error}"
            ) from error

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Answer what is on its way, let the clients go, take the socket away; any number of times.

        Raises DeadlinePassed when the thread does not end.
        """
        if self._path is None:
            return
        if self._loop is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._end)
            except RuntimeError as error:  # it ended by itself between the two
                self._calls.undelivered = error
        self._thread.join(timeout_s)
        release(self._path)
        self._path = None
        if self._thread.is_alive():
            raise DeadlinePassed(
                "the control socket's thread did not end", expected=f"within {timeout_s:g} s"
            )

    def _end(self) -> None:
        assert self._over is not None
        self._over.set()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the thread's end: start() raises it
            if not self._ready.done():
                self._ready.set_exception(error)
            else:
                self._calls.undelivered = error

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        server = await asyncio.start_unix_server(
            self._welcome, path=self.path, limit=messages.MAX_REQUEST_BYTES
        )
        os.chmod(self.path, _SOCKET_MODE)
        self._ready.set_result(None)
        await self._over.wait()
        server.close()
        await asyncio.gather(*(client.finish(_FINISH_S) for client in list(self._clients)))

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Connection(self._run, self._calls, reader, writer)
        if len(self._clients) >= MAX_CLIENTS:
            client.drop()
            return
        self._clients.add(client)
        try:
            await client.serve()
        finally:
            self._clients.discard(client)
