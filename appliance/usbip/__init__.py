"""USB/IP: the wire (sans-IO), then server and client shells over it."""
