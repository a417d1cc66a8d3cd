"""Making a client repeat at once what was lost, where it would wait 200 ms by itself. Pure.

The client has sent `unheard` bytes that reached nobody. An acknowledgement that reports the later of them as
received (SACK, RFC 2018) makes it repeat the earlier ones at once (RACK, RFC 8985); once these are
acknowledged and the later ones are still not, it disbelieves the report ("reneging", RFC 2018 §8) and repeats
those too, after 10 ms (Linux: `tcp_check_sack_reneging`). Nothing is lost by it: a sender keeps what was only
reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from appliance.kernel.tcp.repair import advertised
from appliance.kernel.tcp.segment import ACK, Segment, seq
from appliance.kernel.tcp.state import Rebuild, Standpoint

Sack = tuple[tuple[int, int], ...]


def segments(rebuild: Rebuild, client: Standpoint) -> Iterator[tuple[Segment, Sack]]:
    """What to send, in this order.

    The first is for a client to which the byte before is not yet acknowledged: all that is new is reported.
    The second is for any other: all is reported but the first segment. To the former it shows the reneging.
    """
    if not rebuild.facts.sack:
        return
    end = seq(rebuild.rcv + client.unheard)
    yield _acknowledge(rebuild, client, seq(rebuild.rcv - 1)), ((rebuild.rcv, end),)
    later = ((seq(rebuild.rcv + 1), end),) if client.unheard > 1 else ()
    yield _acknowledge(rebuild, client, rebuild.rcv), later


def _acknowledge(rebuild: Rebuild, client: Standpoint, ack: int) -> Segment:
    facts = rebuild.facts
    return Segment(
        facts.local,
        facts.remote,
        rebuild.snd,
        ack,
        ACK,
        advertised(facts) >> (facts.rcv_wscale or 0),
        timestamps=None if client.clock is None else (client.clock, client.echo),
    )
