"""Software USB devices: deterministic state machines that turn URBs into completions."""
