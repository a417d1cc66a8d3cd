"""What was measured, as bench/results.json and docs/performance.md have it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "bench/results.json"
DOCS: Final = ROOT / "docs/performance.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Result:
    """`ratio` is ours / rival's; None where there is no rival."""

    name: str
    ours: float
    unit: str
    rival: float | None = None
    rival_name: str | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return round(self.ours / self.rival, 3) if self.rival else None

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "ratio": self.ratio}


def machine() -> dict[str, object]:
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def save(results: list[Result], command: str, file: Path = FILE) -> None:
    document = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "commit": commit(),
        "command": command,
        "results": [result.to_json() for result in results],
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n")


def table(results: list[Result]) -> str:
    """Markdown."""
    lines = ["| measured | ours | rival | ratio | |", "|---|---|---|---|---|"]
    for result in results:
        rival = f"{result.rival:.4g} {result.unit} ({result.rival_name})" if result.rival else ""
        ratio = f"{result.ratio:.2f}" if result.ratio else ""
        lines.append(
            f"| `{result.name}` | {result.ours:.4g} {result.unit} | {rival} | {ratio} | {result.note} |"
        )
    return "\n".join(lines)


def write_docs(results: list[Result], file: Path = DOCS) -> None:
    """Puts the table between its marks."""
    before, _, rest = file.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    when = datetime.now(UTC).date().isoformat()
    file.write_text(
        f"{before}{BEGIN}\nOn {when}, commit {commit()}, by `make bench`:\n\n{table(results)}\n{END}{after}"
    )
