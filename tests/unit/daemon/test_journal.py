from __future__ import annotations

import json
import logging
import sys

from appliance.daemon.journal import Json


def test_a_line_of_the_json_journal_is_one_object() -> None:
    record = logging.LogRecord("appliance.x", logging.WARNING, "x.py", 1, "two\nlines of %s", ("text",), None)
    line = Json().format(record)
    told = json.loads(line)
    assert "\n" not in line
    assert told.pop("time").endswith("+00:00")
    assert told == {"level": "warning", "logger": "appliance.x", "message": "two\nlines of text"}


def test_an_exception_has_its_trace() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())
    assert "ValueError: wrong" in json.loads(Json().format(record))["trace"]
