"""Recordings of a device: everything that went in, what came out of it, and whether it does again."""
