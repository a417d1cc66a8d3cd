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
