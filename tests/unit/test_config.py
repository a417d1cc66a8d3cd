"""One TOML file becomes one value, or an error that says where and what."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import config
from appliance.config import SECTIONS, Config, Paths, load, parse
from appliance.errors import ConfigError
from appliance.explain import locate
from appliance.exports.gadgets import GADGET_KEYS
from appliance.exports.keys import toml
from appliance.exports.rules import ExportOptions
from appliance.exports.words import RULE_KEYS
from appliance.pair.settings import GROUP_KEYS, vrid_of
from gadgets import definition

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def complaint(source: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(source, "twinhub.toml")
    return str(caught.value)


def test_an_empty_file_is_safe_and_complete() -> None:
    made = parse("")
    assert (made.listen.addresses, made.listen.port, made.listen.allow) == (("127.0.0.1", "::1"), 3240, ())
    assert (made.status.address, made.status.port) == ("127.0.0.1", 3241)
    assert made.sessions == ExportOptions("relayed", (), "same-host", None)
    assert (made.gadgets, made.rules, made.groups) == ((), (), ())
    assert (made.pair.listen, made.pair.port) == ((), 3242)


def test_every_section_is_read() -> None:
    made = parse("""
        [listen]
        addresses = ["0.0.0.0", "::"]
        port = 0
        allow = ["10.0.0.0/8", "2001:db8::/64"]
        [limits]
        handshake = 2
        half_open = 8
        [sessions]
        mode = "direct"
        take_over = "never"
        idle = 60
        [status]
        address = "::1"
        [paths]
        runtime = "/tmp/run"
        state = "/tmp/state"
        user = "root"
        [log]
        level = "debug"
        format = "json"
        [pair]
        listen = ["192.168.7.2"]
        stall = 1
        [[group]]
        name = "bench"
        hub = "1-1"
        address = "192.168.7.100/24"
        interface = "eth0"
        selector = "witness:192.168.7.9:3243"
        advert = 0.05
        [[group]]
        name = "keys"
        exports = ["keyboard", "keyboard-2"]
        address = "2001:db8::9/64"
        interface = "eth0.7"
        selector = "command:/usr/local/bin/select"
        vrid = 7
        takeover = "replug"
        preempt = true
        [[gadget]]
        definition = "keyboard"
        count = 3
        [[gadget]]
        definition = "kiosk.toml"
        take_over = "anyone"
        idle = 0
        [[share]]
        hub = "1-1"
        [[share]]
        serial = "A1"
        mode = "relayed"
    """)
    assert made.listen.allow == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/64"))
    assert (made.limits.handshake, made.limits.answer, made.limits.half_open) == (2.0, 10.0, 8)
    assert made.paths == Paths(Path("/tmp/run"), Path("/tmp/state"), "root")
    assert (made.log.level, made.log.format) == ("debug", "json")
    assert [(g.names, g.definition, g.options.take_over, g.options.idle_seconds) for g in made.gadgets] == [
        (("keyboard", "keyboard-2", "keyboard-3"), "keyboard", "never", 60.0),
        (("kiosk",), Path.cwd() / "kiosk.toml", "anyone", None),
    ]
    assert (made.pair.listen, made.pair.stall) == (("192.168.7.2",), 1.0)
    bench, keys = made.groups
    assert (bench.name, bench.hub, bench.exports, bench.vrid) == ("bench", "1-1", (), vrid_of("bench"))
    assert (bench.address, bench.interface) == (ip_interface("192.168.7.100/24"), "eth0")
    assert (bench.priority, bench.preempt, bench.advert, bench.takeover) == (100, False, 0.05, "auto")
    assert (bench.lost, bench.back, bench.targets, bench.errors) == (5, 10, (), 0)
    assert (keys.exports, keys.hub, keys.vrid) == (("keyboard", "keyboard-2"), None, 7)
    assert (keys.preempt, keys.takeover) == (True, "replug")
    assert [(r.id, r.options.mode, r.options.idle_seconds) for r in made.rules] == [
        ("config-1", "direct", 60.0),
        ("config-2", "relayed", 60.0),
    ]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("[listen]\n\nprot = 3", "twinhub.toml, line 3: [listen] prot: unknown key; did you mean 'port'?"),
        ("\n[lisetn]", "twinhub.toml, line 2: lisetn: unknown section; did you mean 'listen'?"),
        ('[listen]\nport = "x"', 'line 2: [listen] port: found "x", wanted a port from 0 to 65535'),
        ("[listen]\nport = true", "found true, wanted a port"),
        ("listen.port = 70000", "line 1: [listen] port: found 70000"),
        ("listen = { port = 1.5 }", "line 1: [listen] port: found 1.5"),
        ("[listen]\naddresses = []", "line 2: [listen] addresses: found [], wanted a list of IP addresses"),
        ('[listen]\naddresses = ["localhost"]', 'found ["localhost"], wanted a list of IP addresses'),
        (
            '[status]\naddress = "0.0.0.0"',
            'line 2: [status] address: found "0.0.0.0", wanted a loopback address',
        ),
        ("[limits]\nhandshake = nan", "found NaN, wanted seconds from 0.1 to 60"),
        ('[paths]\nstate = "var"', 'found "var", wanted an absolute path of at most 80 bytes'),
        ('[paths]\nuser = "nobody at all"', "wanted the name of a user of this machine"),
        ('[log]\nlevel = "loud"', 'found "loud", wanted one of "debug", "info", "warning", "error"'),
        ('[sessions]\nmode = "fast"', 'wanted one of "relayed", "direct"'),
        (
            "[[gadget]]\ndefinitoin = 'x'",
            "line 2: [[gadget]] definitoin: unknown key; did you mean 'definition'?",
        ),
        ("[[gadget]]\ncount = 1", "[[gadget]] definition: is missing; wanted a gadget of the catalogue, or"),
        ("[[gadget]]\ndefinition = 'a'\ncount = true", "found true, wanted a whole number from 1 to 64"),
        ("[[gadget]]\ndefinition = 'a b'", "'a b' cannot name a gadget; wanted a name of at most 31"),
        ("[[gadget]]\ndefinition = {}", "found a table, wanted a text"),
        ("[[gadget]]\ndefinition = 'a'\n" * 2, "line 3: [[gadget]] name: there is another 'a' further up"),
        ("gadget = 3", "line 1: gadget: found 3, wanted [[gadget]] above each gadget"),
        ("listen = 3", "line 1: listen: found 3, wanted the section [listen]"),
        ("[share]\nany = true", 'line 1: share: found {"any": true}, wanted [[share]] above each rule'),
        (
            "[[share]]\nany = true\n\n[[share]]\nname = 'x'",
            "line 4: [[share]] which devices? Give one of busid",
        ),
        ("[[share]]\nany = true\n\n[[share]]\nbusid = 'x'", 'line 5: [[share]] busid: found "x"'),
        ("[listen]\nport = 1\nport = 2", "twinhub.toml: not TOML: Cannot overwrite a value (at "),
        ("[listen", "twinhub.toml: not TOML: "),
        ("x = " + "[" * 5000, "twinhub.toml: not TOML: "),
        ("[listen]\nport = 0x" + "f" * 20_000, "found a monstrous value"),
        ("listen.port." + ".".join("a" * 5000) + " = 1", "found a monstrous value"),
    ],
)
def test_an_error_names_file_line_key_what_is_there_and_what_must_be(source: str, sentence: str) -> None:
    assert sentence in complaint(source)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.7.1"])
def test_listening_to_other_machines_needs_to_say_to_which(host: str) -> None:
    said = complaint(f'[listen]\naddresses = ["127.0.0.1", "{host}"]')
    assert f'line 2: [listen] addresses: found "{host}", which other machines can reach' in said
    assert 'such as allow = ["192.168.7.0/24"]' in said


def test_the_line_is_right_however_the_key_is_written() -> None:
    source = """\
# [listen]
a.b = 1
[ listen ]
# port = 1
"port" = 1
'x' . y = 1
[[share]]
[[share]]
any = 1
"""
    assert [
        locate(source, ("a", "b")),
        locate(source, ("listen", "port")),
        locate(source, ("listen", "x")),
        locate(source, ("listen", "missing")),
        locate(source, ("share", "any"), 1),
        locate(source, ("share", "any"), 0),
        locate(source, ("nowhere", "key")),
    ] == [2, 5, 6, 3, 9, 7, 1]


@given(st.text(max_size=200), st.tuples(st.text(max_size=5), st.text(max_size=5)), st.integers(0, 3))
def test_a_line_is_always_one_of_the_file(source: str, path: tuple[str, ...], nth: int) -> None:
    assert 1 <= locate(source, path, nth) <= source.count("\n") + 1


def test_a_hostile_line_does_not_hold_up_the_search_for_the_right_one() -> None:
    said = complaint(f'[listen]\ntext = """\n{"a" * 50_000}!\n"""')
    assert "line 2: [listen] text: unknown key" in said


@given(st.text(max_size=300))
def test_any_text_is_a_configuration_or_a_config_error(source: str) -> None:
    judged(source)


NAMES = [
    *SECTIONS,
    "share",
    "gadget",
    "group",
    *{key.name for section in SECTIONS.values() for key in section.keys},
]
WORDS = st.sampled_from(
    [*NAMES, *(key.name for key in (*RULE_KEYS, *GADGET_KEYS, *GROUP_KEYS))]
) | st.from_regex("[a-z]{1,4}", fullmatch=True)
VALUES = st.sampled_from([
    '"127.0.0.1"', '["::"]', '["10.0.0.0/8"]', "true", "0", "-1", "3240", "1e400", "nan", '"1-1"', "[]", "{}",
    '""', '"relayed"', '"direct"', '"/run/x"', "[[1]]", "{ any = true }", "[{ any = true }]", "1979-05-27",
])  # fmt: skip
LINES = st.one_of(
    WORDS.map("[{}]".format),
    WORDS.map("[[{}]]".format),
    st.sampled_from(("[[share]]", "[[gadget]]", "[[group]]")),
    st.tuples(WORDS, VALUES).map("{0[0]} = {0[1]}".format),
    st.tuples(WORDS, WORDS, VALUES).map("{0[0]}.{0[1]} = {0[2]}".format),
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_any_toml_is_a_configuration_or_a_config_error_with_a_line(source: str) -> None:
    said = judged(source)
    assert said is None or re.search(r"line \d+|not TOML", said)


def judged(source: str) -> str | None:
    try:
        assert isinstance(parse(source), Config)
    except ConfigError as error:
        return str(error)
    return None


def test_root_has_the_places_of_a_system_service() -> None:
    made = config.default_paths({"XDG_RUNTIME_DIR": "/run/user/0"}, 0)
    assert (made.runtime, made.state) == (Path("/run/twinhub"), Path("/var/lib/twinhub"))
    assert config.default_file({}, 0) == Path("/etc/twinhub/twinhub.toml")


def test_an_ordinary_user_has_those_of_the_xdg_base_directories() -> None:
    environ = {
        "XDG_RUNTIME_DIR": "/run/user/7",
        "XDG_STATE_HOME": "/s",
        "XDG_CONFIG_HOME": "/c",
        "HOME": "/home/a",
    }
    assert config.default_paths(environ, 7) == Paths(Path("/run/user/7/twinhub"), Path("/s/twinhub"), None)
    assert config.default_file(environ, 7) == Path("/c/twinhub/twinhub.toml")


def test_an_ordinary_user_without_them_has_a_directory_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    environ = {"HOME": "/home/a", "XDG_STATE_HOME": "relative/is/invalid"}
    assert config.default_paths(environ, 7) == Paths(
        Path("/tmp/twinhub-7"), Path("/home/a/.local/state/twinhub"), None
    )
    assert config.default_file(environ, 7) == Path("/home/a/.config/twinhub/twinhub.toml")


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[listen]\nport = 99\n")
    assert load(tmp_path / "t.toml").listen.port == 99


def test_without_a_file_there_are_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "default_file", lambda environ, uid: tmp_path / "none.toml")
    assert load().listen.port == 3240


def test_a_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        load(tmp_path / "none.toml")


def test_a_file_that_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_bytes(b"[listen]\n\xff")
    with pytest.raises(ConfigError, match=r"t\.toml, line 2: not UTF-8"):
        load(tmp_path / "t.toml")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_bytes(b"#" * (config.LARGEST_FILE + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(tmp_path / "t.toml")


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == config.markdown()


def test_the_page_is_printed_on_demand() -> None:
    command = [sys.executable, "-W", "error", "-m", "appliance.config"]
    asked = subprocess.run([*command, "--markdown"], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert (asked.returncode, asked.stdout) == (0, PAGE.read_text())


def test_every_key_is_on_the_page_with_a_sentence() -> None:
    page = PAGE.read_text()
    for key in (
        *(key for section in SECTIONS.values() for key in section.keys),
        *RULE_KEYS,
        *GADGET_KEYS,
        *GROUP_KEYS,
    ):
        assert f"| `{key.name}` | {key.kind.wanted} | " in page
        assert key.help.endswith(".")
        assert "|" not in key.kind.wanted + key.help + key.default_text


def test_every_example_of_the_docs_is_right() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        parse(block)
    for example in (ROOT / "docs" / "examples").glob("*.toml"):
        is_definition = isinstance(tomllib.loads(example.read_text()).get("gadget"), dict)
        (definition.load if is_definition else load)(example)


def test_every_default_may_be_written_down() -> None:
    lines: list[str] = []
    for name, section in SECTIONS.items():
        lines += [
            f"[{name}]",
            *(f"{k.name} = {toml(k.default)}" for k in section.keys if k.default is not None),
        ]
    written: dict[str, Any] = tomllib.loads("\n".join(lines))
    assert written.keys() == SECTIONS.keys()
    assert parse("\n".join(lines)) == parse("")
