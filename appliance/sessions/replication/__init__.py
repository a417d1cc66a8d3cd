"""One software gadget in two processes: the log of its inputs, who writes it and who executes it.

`records.py` is the log's format and `wire.py` moves it; `copying.py` makes media equal; `master.py` writes
the log and holds outputs until the backup has what led to them; `follower.py` executes it, `shadow.py` is a
client's session as the backup has it; `twin.py` is what the daemon may ask a gadget's process of all this.
"""
