"""Who this appliance is, whom it trusts, and the TLS between the two."""
