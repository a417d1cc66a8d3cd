"""Where the API listens, and who is let in."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.app import full_application, is_loopback, local_application
from appliance.api.sites import SOCKET_NAME, on_tcp, on_unix_socket
from appliance.errors import Unavailable, UsageError
from tests.unit.api.fake import FakeAppliance


async def test_the_socket_is_for_owner_and_group_and_goes_with_the_daemon(
    appliance: FakeAppliance, tmp_path: Path
) -> None:
    path = tmp_path / SOCKET_NAME
    async with on_unix_socket(full_application(appliance), path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


async def test_what_a_dead_daemon_left_behind_is_replaced(appliance: FakeAppliance, tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with on_unix_socket(full_application(appliance), path):
        assert path.is_socket()


async def test_a_living_daemon_is_not_pushed_aside(appliance: FakeAppliance, tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    async with on_unix_socket(full_application(appliance), path):
        with pytest.raises(Unavailable, match="another daemon"):
            async with on_unix_socket(full_application(appliance), path):
                pass
        assert path.is_socket()


async def test_a_file_that_is_no_socket_is_left_alone(appliance: FakeAppliance, tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    path.write_text("mine")
    with pytest.raises(Unavailable, match=str(path)):
        async with on_unix_socket(full_application(appliance), path):
            pass
    assert path.read_text() == "mine"


async def test_a_path_too_long_for_a_socket_is_refused(appliance: FakeAppliance, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="107 bytes"):
        async with on_unix_socket(full_application(appliance), tmp_path / ("x" * 120)):
            pass


async def test_a_port_that_is_taken_is_named(appliance: FakeAppliance) -> None:
    async with on_tcp(local_application(appliance), "127.0.0.1", 0) as port:
        with pytest.raises(Unavailable, match=f"port {port}"):
            async with on_tcp(local_application(appliance), "127.0.0.1", port):
                pass


async def test_the_local_endpoint_has_figures_only(figures: ClientSession) -> None:
    async with figures.get("/status") as response:
        assert (response.status, (await response.json())["version"]) == (200, "0.1.0")
    for method, path in (("GET", "/api/devices"), ("GET", "/api/events"), ("POST", "/api/kick")):
        async with figures.request(method, path) as response:
            assert response.status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9240", "127.0.0.1.evil.example", "", "10.0.0.7"]
)
async def test_a_name_that_was_bound_to_loopback_by_its_owner_gets_nothing(
    figures: ClientSession, host: str
) -> None:
    async with figures.get("/status", headers={"Host": host}) as response:
        assert response.status == 421
        assert "version" not in await response.text()


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9240", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:9240"]
)
def test_names_of_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":",
        "localhost.",
        "localhost:x",
        "[::1",
        "[::1]x",
        "::1x",
        "127.0.0.1:٣",
        "[::2]",
        "localhost@evil",
    ],
)
def test_what_only_looks_like_loopback_is_not(host: str) -> None:
    assert not is_loopback(host)


@given(st.text(max_size=40))
def test_any_host_header_is_judged(host: str) -> None:
    assert is_loopback(host) in (True, False)
