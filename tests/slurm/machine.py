"""What a cluster of the tests needs of the machine: packages, ports, names, device files."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "munged": "munge"}
ACCOUNTING_PACKAGES = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
HOSTS = Path("/etc/hosts")


def install(accounting: bool = False) -> None:
    """Debian's packages, where they are missing; SystemExit with a hint where it cannot."""
    wanted = PACKAGES | (ACCOUNTING_PACKAGES if accounting else {})
    missing = sorted({wanted[one] for one in wanted if not shutil.which(one, path=path())})
    if not missing:
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    if os.getuid() or not shutil.which("apt-get"):
        sys.exit(f"ERROR: not installed: {', '.join(missing)}\nHint: as root on Debian: {command}")
    # RUNLEVEL=1: the packages start no daemon of their own
    quiet = os.environ | {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    for words in ("apt-get update -qq", command):
        done = subprocess.run(words.split(), env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"ERROR: {words}\n{done.stderr[-2000:]}\nHint: install {' '.join(missing)}")


def path() -> str:
    """Where programs are: daemons are not on everybody's PATH; a cluster's commands are its own."""
    known = os.environ["PATH"].split(":")
    unbound = [one for one in known if not (Path(one).parent / "slurm.conf").exists()]
    return ":".join([*unbound, "/usr/sbin", "/sbin"])


def until(
    ready: Callable[[], object], seconds: float = 30, told: Callable[[], object] = lambda: ""
) -> None:
    """Wait until `ready()` holds; AssertionError with `told()` when it does not."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {told()}"
        time.sleep(0.1)


def lives(entry: Path) -> bool:
    """A process in /proc that is more than a status which nobody waited for."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that outgoing connections take."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def secret(path: Path, content: bytes) -> None:
    """A file that only its owner reads, as SLURM and munge insist."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as handle:
        handle.write(content)


def device(path: Path, number: int) -> None:
    """A device file without a driver; a plain file where the kernel does not permit one."""
    path.unlink(missing_ok=True)
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(240, number))
    except PermissionError:
        path.touch()


def hosts(directory: Path, names: tuple[str, ...] = ()) -> None:
    """Name a cluster's nodes in /etc/hosts, where that is permitted; without names: not any more.

    The file is changed in place: in a container it is a mount that cannot be replaced. Lines of
    clusters whose directory is gone go too.
    """
    try:
        handle = open(HOSTS, "r+")  # noqa: SIM115
    except OSError:
        return
    mark = "# test cluster "
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        lines = [
            line
            for line in handle.read().splitlines()
            if mark not in line
            or (line.split(mark)[1] != str(directory) and Path(line.split(mark)[1]).exists())
        ]
        if names:
            lines.append(f"127.0.0.1 {' '.join(names)} {mark}{directory}")
        handle.seek(0)
        handle.write("\n".join(lines) + "\n")
        handle.truncate()
