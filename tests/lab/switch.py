"""Turns the switch of a SharedHub: `switch.py SOCKET none|a|b`, on the bare standard library."""

import socket
import sys

with socket.socket(socket.AF_UNIX) as switch:
    switch.connect(sys.argv[1])
    switch.sendall(sys.argv[2].encode())
    answer = switch.recv(4096).decode()
sys.exit(None if answer == "ok" else answer)
