"""Where the applications listen: a Unix socket with a file mode, a loopback TCP port."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from appliance.errors import Unavailable, UsageError

SOCKET_NAME: Final = "twinhub.sock"
SOCKET_MODE: Final = 0o660
LONGEST_SOCKET_PATH: Final = 107
"""sun_path less its NUL (include/uapi/linux/un.h)."""
SECONDS_TO_FINISH: Final = 5.0


@asynccontextmanager
async def on_unix_socket(app: web.Application, path: Path) -> AsyncIterator[None]:
    """Serves `app` on a socket at `path` that owner and group may use; the file is gone afterwards."""
    listener = listen(path)
    try:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SECONDS_TO_FINISH)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield
        finally:
            await runner.cleanup()
    finally:
        withdraw(listener, path)


@asynccontextmanager
async def on_tcp(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serves `app`; the value is the port (of use when `port` is 0)."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SECONDS_TO_FINISH)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {host} port {port} for metrics: {error.strerror}; choose another port"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0660; a socket that a dead daemon left there is replaced."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise UsageError(f"{path} is longer than the {LONGEST_SOCKET_PATH} bytes of a socket's path")
    if answers(path):
        raise Unavailable(f"another daemon answers on {path}; stop it, or choose another --runtime-dir")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(os.fspath(path))
        # Nobody can connect before listen(), so there is no moment with a wrong mode.
        path.chmod(SOCKET_MODE)
        listener.listen()
    except OSError as error:
        listener.close()
        raise Unavailable(f"cannot make the socket {path}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def withdraw(listener: socket.socket, path: Path) -> None:
    listener.close()
    path.unlink(missing_ok=True)


def answers(path: Path) -> bool:
    """Whether somebody listens on the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True
