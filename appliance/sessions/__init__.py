"""One client using one device: one process a session, direct or relayed."""
