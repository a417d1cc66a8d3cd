"""The witness: registers of many groups, kept by a process on a third machine and asked over TCP."""
