"""What reading and rebuilding a connection leaves behind. Needs root."""

from __future__ import annotations

import os
import socket

import pytest

from appliance.kernel.tcp.repair import build, read_facts
from appliance.kernel.tcp.state import rebuild_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="TCP_REPAIR needs CAP_NET_ADMIN")


def test_a_new_server_can_listen_beside_a_connection_that_was_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        client, here = socket.create_connection(address), listener.accept()[0]
    with client, here:
        read_facts(here)
        with socket.create_server(address):
            pass


def test_a_new_server_can_listen_beside_a_connection_that_was_rebuilt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        client, here = socket.create_connection(address), listener.accept()[0]
    with client, here:
        facts = read_facts(here)
        with build(rebuild_of(facts, 0, 0, 0), b"", None), socket.create_server(address):
            pass
