"""docs/takeover-classes.md speaks of what the tables hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.exports.takeover import QUIRKS, RULES, Verdict

DOCS = (Path(__file__).parents[3] / "docs/takeover-classes.md").read_text()
WORDS = {
    "serial (CDC-ACM)": "CDC-ACM",
    "network (CDC-ECM)": "CDC-ECM",
    "network (CDC-NCM)": "CDC-NCM",
    "input device": "HID",
    "disk": "Bulk-Only",
    "disk that uses UAS": "UAS",
    "data of CDC": "CDC",
    "firmware update, not under way": "not under way",
    "firmware update": "under way",
    "serial (FTDI)": "FTDI",
    "serial (CP210x)": "CP210x",
    "serial (CH34x)": "CH34x",
    "serial (PL2303)": "PL2303",
    "security key": "security keys",
    "licence dongle": "licence dongles",
}


@pytest.mark.parametrize(
    "entry", [*RULES, *{quirk.why: quirk for quirk in QUIRKS}.values()], ids=lambda e: e.why
)
def test_every_entry_is_in_a_row_with_its_verdict(entry: object) -> None:
    why, verdict = getattr(entry, "why", ""), getattr(entry, "verdict", Verdict.HIDE)
    word = WORDS.get(why, why)
    rows = [row for row in DOCS.splitlines() if row.startswith("|") and word in row.split("|")[1]]
    assert any(f"| {verdict} |" in row for row in rows)
