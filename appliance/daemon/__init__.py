"""The daemon: where all parts are put together and run."""
