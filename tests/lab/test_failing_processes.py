"""What may fail of the appliance itself: sessions live on without the daemon, the next one takes them up."""

from __future__ import annotations

import signal

from tests.lab import Lab
from tests.lab.house import KINDS, PAUSE, House
from tests.lab.verified_copy import goes_on, has_failed

ANOTHER_VERSION = "9.9.9"


def test_sessions_outlive_the_daemon_and_the_next_one_takes_them_up(house: House) -> None:
    copies = house.copies(PAUSE)
    before = house.twinhub.sessions()
    for falling in ("daemon", "daemon and helper"):
        if "helper" in falling:
            house.server.run("pkill -KILL -f '[a]ppliance.kernel.helper'")
        house.kill_daemon()
        goes_on(*copies)
        house.twinhub.start()
        goes_on(*copies)
        assert [each["id"] for each in house.twinhub.sessions()] == [each["id"] for each in before]
    assert "disconnect" not in house.client.run("dmesg").stdout


def test_a_workers_death_ends_its_own_session_only(house: House) -> None:
    relayed, direct = house.copies(PAUSE)
    house.server.run(["kill", "-KILL", house.worker_of("relayed")])
    has_failed(relayed)
    goes_on(direct)
    house.wait_free("relayed")
    relayed = house.copy("relayed")
    house.server.run(["kill", "-KILL", house.worker_of("direct")])
    has_failed(direct)
    house.wait_free("direct")
    goes_on(house.copy("direct"), relayed)


def test_what_ends_while_there_is_no_daemon_is_free_when_there_is_one(house: House) -> None:
    relayed, direct = house.copies()
    house.kill_daemon()
    disk = house.server.unplug(house.disks["relayed"])
    has_failed(relayed)
    goes_on(direct)
    house.detach()
    has_failed(direct)
    house.wait_free("direct")
    house.twinhub.start()
    house.server.plug(disk)
    house.wait_free("relayed")
    goes_on(*house.copies())


def test_a_direct_session_whose_worker_died_with_the_daemon_is_freed_by_the_next(house: House) -> None:
    relayed, direct = house.copies(PAUSE)
    worker = house.worker_of("direct")
    house.kill_daemon()
    house.server.run(["kill", "-KILL", worker])
    house.twinhub.start()
    has_failed(direct)
    house.wait_free("direct")
    goes_on(relayed, house.copy("direct"))


def test_network_and_daemon_fail_together_and_both_come_back(house: House, lab: Lab) -> None:
    copies = house.copies()
    lab.network.cut("server", "client")
    house.kill_daemon()
    house.twinhub.start()
    house.wait_free(*KINDS)
    lab.network.heal()
    has_failed(*copies)
    house.wait_disconnected(2)
    goes_on(*house.copies())


def test_an_upgrade_reaches_running_sessions_with_no_unplug(house: House) -> None:
    copies = house.copies(PAUSE)
    house.twinhub.daemon.kill(signal.SIGHUP, group=False)
    assert house.twinhub.daemon.wait() == 0
    goes_on(*copies)
    house.server.run(
        f"sed -i 's/^__version__ = .*/__version__ = \"{ANOTHER_VERSION}\"/' appliance/__init__.py"
    )
    house.twinhub.start()
    house.server.wait_until("test $(pgrep -fc '[a]ppliance.sessions.worker --state') = 2", timeout=120)
    goes_on(*copies)
    assert "disconnect" not in house.client.run("dmesg").stdout
