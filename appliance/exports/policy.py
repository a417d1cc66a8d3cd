"""Who may use what. Every refusal says which rule it is and where to change it.

Two gates, both by the client's address:

1. `[listen] allow` says who may talk to this appliance at all. Loopback always may: who can connect from
   there is on this machine already (and `twinhub attach localhost` keeps working when a network is named).
2. The `allow` of an export narrows it further, for loopback too: behind a tunnel (ssh, a TLS proxy) everyone
   comes from loopback, and an export meant for one address must not be open to them. "127.0.0.1" and "::1"
   in the list let this machine in. An empty list narrows nothing.

An address is a weak witness: whoever is on the path can forge it.
"""

from __future__ import annotations

from appliance.errors import Busy, Refused
from appliance.exports.keys import Network
from appliance.exports.registry import Export
from appliance.usbip.server import Address


def may_connect(peer: Address, networks: tuple[Network, ...]) -> bool:
    """The first gate, `[listen] allow`."""
    return peer.is_loopback or is_in(peer, networks)


def is_in(peer: Address, networks: tuple[Network, ...]) -> bool:
    return any(peer in network for network in networks)


def may_use(peer: Address, export: Export) -> bool:
    """The second gate, without the sentence: what it shuts out is not listed either."""
    return not export.options.allow or is_in(peer, export.options.allow)


def require_use(peer: Address, export: Export) -> None:
    """The second gate, the `allow` of the rule that shares `export`."""
    if not may_use(peer, export):
        whom = listed(export.options.allow)
        raise Refused(f"{export.name} is shared by rule {export.rule} with {whom} only, not with {peer}")


def require_take_over(peer: Address, holder: Address, export: Export) -> None:
    """`peer` asks for what `holder` uses. Returns if that session is to be ended for it, else Busy.

    "same-host" lets a client that lost its connection come straight back. Clients that share one address
    (behind NAT or a tunnel) are one host here; "never" keeps them from taking devices from each other.
    """
    how = export.options.take_over
    if how == "anyone" or (how == "same-host" and peer == holder):
        return
    raise Busy(
        f'{export.name} is in use by {holder}, and rule {export.rule} has take_over = "{how}";'
        f" 'twinhub kick {export.name}' on the appliance ends that session"
    )


def listed(networks: tuple[Network, ...]) -> str:
    """Networks as a user writes them: a single address without its /32."""
    texts = [str(n.network_address if n.num_addresses == 1 else n) for n in networks]
    return ", ".join(texts) or "(none)"
