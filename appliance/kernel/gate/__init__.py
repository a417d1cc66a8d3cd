"""What may leave a protected address: no farewell nobody meant, no acknowledgement before its time."""
