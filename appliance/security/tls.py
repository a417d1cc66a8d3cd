"""TLS 1.3 between the two appliances of a pair, each proving that it is the very one that was paired."""

from __future__ import annotations

import ssl
from pathlib import Path

from appliance.errors import Unavailable
from appliance.security import identity
from appliance.security.identity import der_of
from appliance.security.sibling import sibling_in


def context_of(directory: Path, server_side: bool) -> ssl.SSLContext:
    """For one end of a connection between the pair whose keys are in `directory`. Unavailable if unpaired.

    Who does not hold the sibling's own key is refused: its certificate is the only one trusted, and as it is
    not an authority's, it vouches for no other. Names mean nothing here, so none is checked.
    """
    sibling = sibling_in(directory)
    if sibling is None:
        raise Unavailable("this appliance has no sibling; 'twinhub pair' tells how it gets one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    if server_side:
        context.num_tickets = 0  # every connection proves itself anew; and a ticket would need a reader
    try:
        context.load_cert_chain(directory / identity.FILE)
        context.load_verify_locations(cadata=der_of(sibling.certificate))
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"cannot use the keys in {directory}: {error}; pair the appliances again"
        ) from error
    return context
