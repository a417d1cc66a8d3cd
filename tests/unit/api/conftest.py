from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from appliance.api.app import full_application, local_application
from appliance.api.sites import SOCKET_NAME, on_tcp, on_unix_socket
from tests.unit.api.fake import FakeAppliance


@pytest.fixture
def appliance() -> FakeAppliance:
    return FakeAppliance()


@pytest.fixture
async def api(appliance: FakeAppliance, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of everything, over the Unix socket."""
    path = tmp_path / SOCKET_NAME
    async with on_unix_socket(full_application(appliance), path):
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession("http://twinhub", connector=connector) as session:
            yield session


@pytest.fixture
async def figures(appliance: FakeAppliance) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the local TCP endpoint."""
    async with (
        on_tcp(local_application(appliance), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield session
