"""What the namespaces promise to those who test with them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.namespaces.world import Node, World

ADDRESS = "10.78.0.100"
PORT = 3240
ECHO = "import socket, sys; s = socket.create_connection(sys.argv[1:]); s.send(s.recv(9))"
FAMILY = "import os, time; print(os.fork() and 'ready', flush=True); time.sleep(600)"


@pytest.fixture
def world() -> Iterator[World]:
    with World("client", "a", "b") as world:
        yield world


def reaches(source: Node, destination: Node) -> bool:
    """Whether a datagram of one arrives at the other."""
    with destination.inside(), socket.socket(type=socket.SOCK_DGRAM) as there:
        there.bind(("", PORT))
        there.settimeout(0.2)
        with source.inside(), socket.socket(type=socket.SOCK_DGRAM) as here:
            here.sendto(b"hello", (destination.address, PORT))
        try:
            return there.recv(16) == b"hello"
        except TimeoutError:
            return False


def family(node: Node) -> subprocess.Popen[bytes]:
    """A process with a child that both would go on."""
    process = node.python("-c", FAMILY, stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout:
        process.stdout.readline()
        process.stdout.readline()
    return process


def test_a_link_is_cut_one_way_and_heals(world: World) -> None:
    client, a = world["client"], world["a"]
    assert reaches(client, a)
    assert reaches(a, client)
    world.cut("client", "a", one_way=True)
    assert not reaches(client, a)
    assert reaches(a, client)
    world.cut("client", "a")
    assert not reaches(a, client)
    assert reaches(a, world["b"])
    world.heal()
    assert reaches(client, a)


def test_an_address_moves_and_the_others_learn_of_it(world: World) -> None:
    client, a, b = (world[name] for name in world.names)
    a.add_address(ADDRESS)
    with a.listen(PORT, ADDRESS), b.listen(PORT) as at_b:
        client.connect(ADDRESS, PORT, 10).close()
        a.remove_address(ADDRESS)
        b.add_address(ADDRESS)
        with client.connect(ADDRESS, PORT, 10) as there, at_b.accept()[0] as here:
            assert here.getsockname() == there.getpeername() == (ADDRESS, PORT)


def test_kill_ends_everything_in_a_node_and_nothing_in_another(world: World) -> None:
    killed, lives = family(world["a"]), family(world["b"])
    assert len(world["a"].pids()) == len(world["b"].pids()) == 2
    world["a"].kill()
    assert killed.returncode == -signal.SIGKILL
    assert world["a"].pids() == []
    assert lives.poll() is None


def test_a_frozen_node_goes_on_when_it_thaws(world: World) -> None:
    with world["a"].listen(PORT) as listener:
        process = world["client"].python("-c", ECHO, world["a"].address, str(PORT))
        with listener.accept()[0] as talk:
            world["client"].freeze()
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            talk.send(b"are you?")
            world["client"].thaw()
            assert talk.recv(9) == b"are you?"
    assert process.wait() == 0


def test_nothing_lives_on_when_the_tests_process_dies() -> None:
    program = (
        "import os, signal; from tests.namespaces.world import World\n"
        "with World('a') as world:\n"
        f"    world['a'].python('-c', {FAMILY!r}, stdout=1)\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(signal.SIGCONT)
        # The pipe ends when nobody who could write to it is left.
        assert process.stdout.read() == b""
    assert process.returncode == -signal.SIGKILL
