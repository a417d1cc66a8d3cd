"""What is left of a connection is taken away, and nothing else."""

from __future__ import annotations

import os
import socket

import pytest

from appliance.kernel.tcp import remains

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may destroy sockets")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_connection_is_gone_and_its_listener_stays(family: int, host: str) -> None:
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((host, port)) as client, listener.accept()[0] as here:
            remains.remove(here.getsockname()[:2], client.getsockname()[:2])
            with pytest.raises(ConnectionError):
                here.send(b"anybody?")
        with socket.create_connection((host, port)), listener.accept()[0]:
            pass


def test_where_there_is_no_connection_the_listener_at_its_port_stays() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        remains.remove(("127.0.0.1", port), ("127.0.0.1", 9))
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            pass
