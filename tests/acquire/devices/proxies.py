"""A TCP proxy on a thread of its own, to break, hold up and silence a connection to something real."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

_WAIT_S = 30.0


class Proxy:
    """Passes bytes between its own port and another one of this machine.

    ``delay_s`` holds up what the server says; ``is_silent`` keeps it back for ever. ``connections`` counts.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.connections = 0
        self.delay_s = 0.0
        self.is_silent = False
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mend()

    def mend(self) -> None:
        """Take connections, at the same port as before."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_WAIT_S)

    def cut(self) -> None:
        """Break every connection and take none."""
        asyncio.run_coroutine_threadsafe(self._break(), self._loop).result(_WAIT_S)

    def close(self) -> None:
        """Break every connection and end the thread."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_S)
        self._loop.close()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _break(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(
            self._pass(reader, far_writer, lambda: 0.0), self._pass(far_reader, writer, lambda: self.delay_s)
        )
        self._writers -= {writer, far_writer}

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: Callable[[], float]
    ) -> None:
        try:
            while data := await reader.read(65_536):
                await asyncio.sleep(delay_s())
                if not self.is_silent:
                    writer.write(data)
                    await writer.drain()
        except OSError as error:
            writer.transport.abort()
            del error
        writer.close()
