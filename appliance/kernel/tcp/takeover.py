"""Several connections built again at once: all clients are asked, then each connection is built."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace

from appliance.errors import TwinhubError
from appliance.kernel.tcp import nudge, probe, repair
from appliance.kernel.tcp.segment import Segment
from appliance.kernel.tcp.state import Rebuild, standpoint


def rebuild_all(wanted: Sequence[tuple[Rebuild, bytes]]) -> list[socket.socket | TwinhubError]:
    """For each connection the socket that goes on with it, or why there is none.

    The gate holds what clients send until the sockets are known to it: nothing that arrives now is lost.
    """
    answers = probe.ask([rebuild for rebuild, _ in wanted])
    return [_built(rebuild, tail, answer) for (rebuild, tail), answer in zip(wanted, answers, strict=True)]


def _built(rebuild: Rebuild, tail: bytes, answer: Segment | None) -> socket.socket | TwinhubError:
    try:
        client = standpoint(rebuild, len(tail), answer) if answer else None
        connection = repair.build(rebuild, tail, client)
    except TwinhubError as error:
        return error
    if client and client.unheard:
        clock = None if client.clock is None else repair.clock_of(connection)
        for segment, sack in nudge.segments(rebuild, replace(client, clock=clock)):
            probe.send(segment, sack=sack)
    return connection
