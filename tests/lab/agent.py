"""The agent that lives in a machine: obeys JSON lines that arrive on a virtio port, one thread a request.

Runs on the bare standard library, as PID 1 or as a service. The host's end is `channel.py`.

request  {"id": 7, "op": "run", …}       one function below for every op, its parameters are the fields
answer   {"id": 7, "result": …} or {"id": 7, "error": "sentence"}
event    {"event": "ready"}, {"event": "output", "name", "text"}, {"event": "exit", "name", "code"}
"""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

Json = dict[str, Any]
Process = subprocess.Popen[bytes]

PORT = "twinhub.lab"
POLL_SECONDS = 0.05
DRAIN_SECONDS = 1.0
LISTENING = "0A"

processes: dict[str, Process] = {}
writing = threading.Lock()


def run(argv: list[str], env: dict[str, str], cwd: str, stdin: str, seconds: float) -> Json:
    """Run to the end of the process itself; what it leaves in the background may keep the output open."""
    out, err = (os.fdopen(os.memfd_create(name), "w+b") for name in ("stdout", "stderr"))
    with out, err:
        process = subprocess.Popen(
            argv,
            env=os.environ | env,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            process.communicate(text_to_bytes(stdin), seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            err.write(f"[killed: not done within {seconds} s]\n".encode())
        return {"code": process.returncode, "stdout": all_of(out), "stderr": all_of(err)}


def start(name: str, argv: list[str], env: dict[str, str], cwd: str) -> int:
    """Start in the background; output and exit become events."""
    if name in processes and processes[name].poll() is None:
        raise ValueError(f"{name} is still running: kill it first, or take another name")
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "wb") as output:
        process = subprocess.Popen(
            argv,
            env=os.environ | env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    processes[name] = process
    threading.Thread(target=follow, args=(name, process, ours), daemon=True).start()
    return process.pid


def follow(name: str, process: Process, output: int) -> None:
    pump = threading.Thread(target=relay_output, args=(name, output), daemon=True)
    pump.start()
    code = process.wait()
    # All it said itself goes out before the news of its end; children may keep the pipe open for longer.
    pump.join(DRAIN_SECONDS)
    say({"event": "exit", "name": name, "code": code})


def relay_output(name: str, output: int) -> None:
    while data := os.read(output, 65536):
        say({"event": "output", "name": name, "text": bytes_to_text(data)})
    os.close(output)


def kill(name: str, number: int, group: bool) -> None:
    """Send a signal to a started process, or to all of its session's process group."""
    process = processes[name]
    if process.poll() is None:
        (os.killpg if group else os.kill)(process.pid, number)


def wait_until(argv: list[str], env: dict[str, str], cwd: str, seconds: float) -> Json:
    """Run a command again and again until it succeeds."""
    deadline = time.monotonic() + seconds
    while (last := run(argv, env, cwd, "", seconds))["code"] != 0:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return last


def wait_for_port(port: int, seconds: float) -> bool:
    """True as soon as something listens on a TCP port; looks without connecting."""
    deadline = time.monotonic() + seconds
    while not is_listening(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_listening(port: int) -> bool:
    tables = (Path("/proc/net", name).read_text() for name in ("tcp", "tcp6"))
    sockets = (line.split() for table in tables for line in table.splitlines())
    return any(fields[3] == LISTENING and fields[1].endswith(f":{port:04X}") for fields in sockets)


def find_node(where: str, pattern: str, seconds: float) -> str | None:
    """The /dev node of the first /sys/class/`pattern` that lies on a device path with the part `where`."""
    deadline = time.monotonic() + seconds
    while True:
        for entry in sorted(Path("/sys/class").glob(pattern)):
            if where in entry.resolve().parts:
                facts = dict(line.split("=", 1) for line in (entry / "uevent").read_text().splitlines())
                return f"/dev/{facts['DEVNAME']}"
        if time.monotonic() > deadline:
            return None
        time.sleep(POLL_SECONDS)


def read_file(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


def write_file(path: str, data: str, mode: int) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(base64.b64decode(data))
    Path(path).chmod(mode)


OPS: dict[str, Callable[..., Any]] = {
    op.__name__: op for op in (run, start, kill, wait_until, wait_for_port, find_node, read_file, write_file)
}


def answer(request: Json) -> None:
    number, op = request.pop("id"), request.pop("op")
    try:
        say({"id": number, "result": OPS[op](**request)})
    except Exception as error:
        say({"id": number, "error": f"{type(error).__name__}: {error}"})


def say(message: Json) -> None:
    line = json.dumps(message).encode() + b"\n"
    with writing:
        while line:
            line = line[os.write(port, line) :]


def all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return bytes_to_text(file.read())


def bytes_to_text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def text_to_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def open_port() -> int:
    """The character device of our virtio port, found by its name."""
    for entry in Path("/sys/class/virtio-ports").iterdir():
        if (entry / "name").read_text().strip() == PORT:
            return os.open(f"/dev/{entry.name}", os.O_RDWR | os.O_CLOEXEC)
    sys.exit(f"no virtio port {PORT}")


def reap_for_ever() -> NoReturn:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            os.execl("/bin/busybox", "busybox", "poweroff", "-f")


if __name__ == "__main__":
    if os.getpid() == 1 and os.fork():
        reap_for_ever()
    port = open_port()
    say({"event": "ready"})
    for line in os.fdopen(port, "rb", closefd=False):
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
