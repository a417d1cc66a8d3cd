"""The key that a selector and its two appliances share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from appliance.errors import ConfigError

DEFAULT: Final = Path("/etc/twinhub/selector.key")
SHORTEST: Final = 16
LONGEST: Final = 1024
MAKE: Final = "make one with `(umask 77; head -c 32 /dev/urandom | base64 > {path})` and copy it to all three"


def read_key(path: Path) -> bytes:
    """The words of the file, without the white space around them. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(LONGEST + 1).strip()
    except OSError as error:
        how = MAKE.format(path=path)
        raise ConfigError(f"cannot read the selector's key {path}: {error.strerror}; {how}") from None
    if mode & 0o007:
        raise ConfigError(f"everybody may read the selector's key {path}; `chmod o= {path}`")
    if not SHORTEST <= len(key) <= LONGEST:
        how = MAKE.format(path=path)
        raise ConfigError(f"{path} is no key: it has {len(key)} bytes, wanted {SHORTEST} to {LONGEST}; {how}")
    return key
