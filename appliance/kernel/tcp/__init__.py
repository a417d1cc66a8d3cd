"""A TCP connection taken from one appliance to the other: what to know of it, how to build it again."""
