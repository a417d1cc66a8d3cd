"""For tests of software that talks to USB devices through this machine's kernel."""
