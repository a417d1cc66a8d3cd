"""Doctor: asks all the questions of `checks`, for groups those of `group_checks`, and tells the answers."""

from __future__ import annotations

from argparse import Namespace

from appliance.cli.checks import CHECKS, Finding, Level, Machine
from appliance.cli.command import Command, config_file, no_arguments, show
from appliance.cli.command import daemon as daemon_of
from appliance.cli.group_checks import GROUP_CHECKS
from appliance.cli.text import plural, safe
from appliance.config import load, parse
from appliance.errors import ConfigError, TwinhubError


def doctor(args: Namespace) -> int:
    machine = look(args)
    checks = (*CHECKS, *(GROUP_CHECKS if machine.config.groups else ()))
    findings = {check.__name__: check(machine) for check in checks}
    told = [
        {"check": name, "level": found.level, "what": found.what, "advice": found.advice}
        for name, found in findings.items()
    ]
    show(args, told, findings_text(list(findings.values())))
    return int(any(found.level is Level.FAIL for found in findings.values()))


def look(args: Namespace) -> Machine:
    wrong = status = None
    try:
        config = load(config_file(args))
    except ConfigError as error:
        config, wrong = parse(""), error
    try:
        status = daemon_of(args).get("/api/status")
    except TwinhubError:
        pass
    return Machine(config, wrong, status)


def findings_text(findings: list[Finding]) -> str:
    lines = []
    for found in findings:
        lines.append(
            f"{found.level.upper() if found.level is Level.FAIL else found.level:4}  {safe(found.what)}\n"
        )
        if found.advice:
            lines.append(f"      → {safe(found.advice)}\n")
    failed = sum(found.level is Level.FAIL for found in findings)
    verdict = f"{plural(failed, 'thing')} to be done." if failed else "Nothing has to be done."
    return "".join(lines) + f"\n{verdict}\n"


COMMANDS = {
    "doctor": Command(
        doctor,
        no_arguments,
        "Looks at kernel modules, privileges, directories, ports, rivals, at what groups need, and says what "
        "to do. It changes nothing. Run it as the user that runs the daemon, or as root.",
        "sudo twinhub doctor",
    ),
}
