"""What happens in every combination of lost links, dead parts and returns: the table of docs/pairing.md.

python -m appliance.pair.table docs/pairing.md writes it there. A test runs the model of the pair to where it
comes to rest, for every row: with each lost link cut both ways, only out and only in.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- Written by `python -m appliance.pair.table docs/pairing.md`; do not edit. -->\n"
END: Final = "<!-- The end of what is written. -->\n"

ACKS = "acknowledgements are proof enough; nothing moves"
HEIR = "A is silent without acknowledgements; B, its heir, claims"
SOLE = "B's claim does not get through; A claims alone, and renews"
NOBODY = "outputs wait for acknowledgements, and neither can claim"
SICK = "A sees no network and hands over in a quiet moment"
STUCK = "A would hand over, but B could not claim"
APART = "who the selector chose is not who the client reaches"
CUT = "the client reaches neither"


@dataclass(frozen=True, slots=True)
class Row:
    """A is master, B in sync; then this is lost. Who answers the client, who is master once all is back?"""

    links: str  # of C-A C-B A-B A-S B-S, in words
    parts: str  # dead, or frozen: "A", "B", "S", "A frozen", "B frozen"
    answers: str  # "A", "B", "nobody"; one of several: "A or nobody"
    after: str
    why: str


ROWS: Final = (
    Row("", "", "A", "A", "both in sync"),
    Row("B-S", "", "A", "A", ACKS),
    Row("A-S", "", "A", "A", ACKS),
    Row("A-S B-S", "", "A", "A", f"{ACKS}; the same as a dead selector"),
    Row("A-B", "", "B", "B", HEIR),
    Row("A-B B-S", "", "A or nobody", "A or B", f"{SOLE}; or B's does, but not the answer"),
    Row("A-B A-S", "", "B", "B", HEIR),
    Row("A-B A-S B-S", "", "nobody", "A or B", NOBODY),
    Row("C-B", "", "A", "A", "nothing moves"),
    Row("C-B B-S", "", "A", "A", ACKS),
    Row("C-B A-S", "", "A", "A", ACKS),
    Row("C-B A-S B-S", "", "A", "A", ACKS),
    Row("C-B A-B", "", "A", "A", "B sees no network and leaves it to A, which claims alone"),
    Row("C-B A-B B-S", "", "A", "A", SOLE),
    Row("C-B A-B A-S", "", "nobody", "A or B", APART),
    Row("C-B A-B A-S B-S", "", "nobody", "A or B", NOBODY),
    Row("C-A", "", "B", "A or B", SICK),
    Row("C-A B-S", "", "nobody", "A or B", STUCK),
    Row("C-A A-S", "", "B", "A or B", "A cannot hand over, and stops claiming the address: B claims"),
    Row("C-A A-S B-S", "", "nobody", "A or B", STUCK),
    Row("C-A A-B", "", "B", "B", HEIR),
    Row("C-A A-B B-S", "", "nobody", "A or B", APART),
    Row("C-A A-B A-S", "", "B", "B", HEIR),
    Row("C-A A-B A-S B-S", "", "nobody", "A or B", NOBODY),
    Row("C-A C-B", "", "nobody", "A or B", CUT),
    Row("C-A C-B B-S", "", "nobody", "A or B", CUT),
    Row("C-A C-B A-S", "", "nobody", "A or B", CUT),
    Row("C-A C-B A-S B-S", "", "nobody", "A or B", CUT),
    Row("C-A C-B A-B", "", "nobody", "A or B", CUT),
    Row("C-A C-B A-B B-S", "", "nobody", "A or B", CUT),
    Row("C-A C-B A-B A-S", "", "nobody", "A or B", CUT),
    Row("C-A C-B A-B A-S B-S", "", "nobody", "A or B", CUT),
    Row("", "A", "B", "B", HEIR),
    Row("", "B", "A", "A", "A claims alone, and renews; B is brought in sync when it is back"),
    Row("", "S", "A", "A", ACKS),
    Row("", "A, B", "nobody", "A or B", "one claims when it is back; its clients begin anew"),
    Row("", "A, S", "nobody", "A or B", "B cannot claim before the selector is back"),
    Row("", "B, S", "nobody", "A or B", "A's outputs wait: it cannot know that B did not claim"),
    Row("", "A frozen", "B", "B", f"{HEIR}; thawed, A is refused and joins"),
    Row("", "B frozen", "A", "A", "A claims alone; thawed, B is brought in sync"),
    Row("B-S", "A", "nobody", "A or B", "B cannot claim"),
    Row("C-B", "A", "nobody", "A or B", "B claims, though it sees no network; the client does not reach it"),
    Row("A-S", "B", "nobody", "A or B", "A's outputs wait: it cannot know that B did not claim"),
    Row("C-A", "B", "nobody", "A", "A claims alone; the client does not reach it"),
    Row("A-B", "S", "nobody", "A or B", NOBODY),
    Row("C-A", "S", "nobody", "A or B", STUCK),
    Row("C-B", "S", "A", "A", ACKS),
)  # fmt: skip


HEAD: Final = """| lost links | dead or frozen | who answers | why | master, when all is back |
|---|---|---|---|---|
"""


def page() -> str:
    lines = (
        (row.links.replace("-", "–") or "none", row.parts or "none", row.answers, row.why, row.after)
        for row in ROWS
    )
    return HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(text: str) -> str:
    """The text of docs/pairing.md with the table as it is."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{page()}\n{END}{after}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(written(Path(name).read_text()))
