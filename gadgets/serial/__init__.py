"""Serial ports: CDC-ACM, tied to a pty, a TCP port or a script."""
