"""What keeps the house clean and no linter knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONG = 400


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_no_file_of_code_is_longer_than_400_lines() -> None:
    long = {
        str(p.relative_to(ROOT)): n for p in tracked("*.py") if (n := len(p.read_text().splitlines())) > LONG
    }
    assert not long


def test_nothing_says_todo() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        str(p) for p in tracked("*.py", "*.sh", "Makefile", "docs/*") if unfinished.search(p.read_text())
    ]
    assert [p for p in found if not p.endswith("test_house.py")] == []


def test_every_package_folder_has_a_docstring() -> None:
    bare = [
        str(p.relative_to(ROOT))
        for p in tracked("appliance/*__init__.py", "gadgets/*__init__.py")
        if not p.read_text().lstrip().startswith('"""')
    ]
    assert not bare
