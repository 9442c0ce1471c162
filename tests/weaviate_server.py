"""A real Weaviate for the tests that need one: the one that `WEAVIATE_TEST_URL` names, or a `weaviate-server` (or
`weaviate`) binary from PATH, started on free loopback ports in a temporary folder and stopped afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

KEY = "a-key-for-tests"
"""Of a user who may do everything."""
OTHER_KEYS = {"reader": "a-key-to-read-with", "writer": "a-key-to-write-with"}
"""Of users who may do nothing until a test lets them."""
START_S = 60
SKIP_REASON = "no Weaviate: set WEAVIATE_TEST_URL, or put a weaviate-server binary on PATH"


def binary() -> str | None:
    """Finds a server binary on PATH."""
    return shutil.which("weaviate-server") or shutil.which("weaviate")


def is_available() -> bool:
    """Whether there is a Weaviate to test against."""
    return bool(os.environ.get("WEAVIATE_TEST_URL") or binary())


@dataclass
class Server:
    """Where a Weaviate listens; one that we started can be killed and started again on the same data."""

    url: str
    grpc_url: str | None = None
    key: str | None = None
    folder: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the binary and waits until it says that it is ready; raises TimeoutError with its log otherwise."""
        assert self.folder
        host, port = self.url.removeprefix("http://").split(":")
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [binary() or "", "--host", host, "--port", port, "--scheme", "http"],
                env={**os.environ, **self.environment},
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/v1/.well-known/ready", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(f"Weaviate did not start: {log.read_text()[-2000:]}")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Stops the server that we started, and waits for its end."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, with_signal)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(15)


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Gives a Weaviate to test against: the one from the environment, else our own in `folder`."""
    if url := os.environ.get("WEAVIATE_TEST_URL"):
        yield Server(url, os.environ.get("WEAVIATE_TEST_GRPC_URL"), os.environ.get("WEAVIATE_TEST_API_KEY"))
        return
    with _started([_node(folder, "footnote-test", _free_ports())]) as (server,):
        yield server


@contextmanager
def cluster(folder: Path, nodes: int = 3) -> Iterator[list[Server]]:
    """Gives several servers of our own that are one Weaviate."""
    ports = [_free_ports() for _ in range(nodes)]
    together = {
        "RAFT_JOIN": ",".join(f"node{number}:{raft}" for number, (_, _, _, raft) in enumerate(ports)),
        "RAFT_BOOTSTRAP_EXPECT": str(nodes),
    }
    servers = []
    for number, its_ports in enumerate(ports):
        own = folder / f"node{number}"
        own.mkdir()
        joins = {"CLUSTER_JOIN": f"127.0.0.1:{ports[0][2]}"} if number else {}
        servers.append(_node(own, f"node{number}", its_ports, **together, **joins))
    with _started(servers):
        yield servers


def _node(folder: Path, name: str, ports: tuple[int, int, int, int], **more: str) -> Server:
    rest, grpc, gossip, raft = ports
    environment = {
        "PERSISTENCE_DATA_PATH": str(folder / "data"),
        "GRPC_PORT": str(grpc),
        "CLUSTER_HOSTNAME": name,
        "CLUSTER_IN_LOCALHOST": "true",
        "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
        "CLUSTER_GOSSIP_BIND_PORT": str(gossip),
        "CLUSTER_DATA_BIND_PORT": str(gossip + 1),
        "RAFT_PORT": str(raft),
        "RAFT_INTERNAL_RPC_PORT": str(raft + 1),
        "RAFT_JOIN": f"{name}:{raft}",
        "RAFT_BOOTSTRAP_EXPECT": "1",
        "GO_PROFILING_DISABLE": "true",
        "DISABLE_TELEMETRY": "true",
        "ENABLE_MODULES": "",
        "DEFAULT_VECTORIZER_MODULE": "none",
        "AUTOSCHEMA_ENABLED": "false",
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
        "AUTHENTICATION_APIKEY_ENABLED": "true",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": ",".join((KEY, *OTHER_KEYS.values())),
        "AUTHENTICATION_APIKEY_USERS": ",".join(("tests", *OTHER_KEYS)),
        "AUTHORIZATION_RBAC_ENABLED": "true",
        "AUTHORIZATION_RBAC_ROOT_USERS": "tests",
        "LOG_LEVEL": "warning",
    }
    return Server(f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{grpc}", KEY, folder, environment | more)


@contextmanager
def _started(servers: list[Server]) -> Iterator[list[Server]]:
    try:
        with ThreadPoolExecutor(len(servers)) as threads:  # a cluster is ready when most of it is there
            list(threads.map(Server.start, servers))
        yield servers
    finally:
        for server in servers:
            server.stop()


def _free_ports() -> tuple[int, int, int, int]:
    """Four free ports; the last two have a free one after them, as Weaviate wants it for its cluster."""
    with ExitStack() as held:

        def bind(port: int = 0) -> int:
            taken = held.enter_context(socket.socket())
            taken.bind(("127.0.0.1", port))
            return int(taken.getsockname()[1])

        def bind_pair() -> int:
            while True:
                first = bind()
                try:
                    bind(first + 1)
                except (OSError, OverflowError):
                    continue
                return first

        return bind(), bind(), bind_pair(), bind_pair()
