"""The newest standing that this appliance knew of each group, over its restarts."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Final

from appliance.errors import TwinhubError, Unavailable
from appliance.pair.model import Standing
from gadgets.usb.records import from_plain, to_plain

WRITING: Final = threading.Lock()


def known(file: Path) -> dict[str, Standing]:
    try:
        return {name: from_plain(Standing, each) for name, each in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TwinhubError) as error:
        raise Unavailable(f"{file} is damaged ({error}); remove it if the sibling is master") from error


def remember(file: Path, group: str, standing: Standing) -> None:
    fresh = file.with_suffix(".new")
    with WRITING:
        everything = {**known(file), group: standing}
        fresh.write_text(json.dumps({name: to_plain(each) for name, each in everything.items()}))
        fresh.replace(file)
