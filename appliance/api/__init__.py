"""The daemon's HTTP interfaces: REST on a Unix socket, metrics and status on loopback."""
