"""A SLURM cluster on this machine: two nodes with four GPUs each, scheduled for real.

    python tests/slurm/cluster.py [--accounting] [--directory DIR]

starts one, tells how to use it, and stops it on Ctrl-C. The GPUs are device files that nothing
reads: SLURM counts them, hands them out and sets CUDA_VISIBLE_DEVICES, as it does with real ones.
Everything of a cluster (configuration, state, logs, keys, database) lies in one directory, and
every port is a free one, so several clusters run side by side. The nodes' names lead to this
machine by two names in /etc/hosts, added at the start and taken away at the end.

Memory is enforced: a job that holds more than it asked for ends as OUT_OF_MEMORY, by the kernel's
memory cgroups (version 1). Where these cannot be written, as in many containers, each node looks at
its jobs' processes every two seconds instead; SLURM then calls the killed job FAILED.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import getpass
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from layout import CGROUP_MOUNT, NODES, write
from machine import hosts, install, lives, path, until

_LONGEST = 70  # characters; a job's socket has 35 more, and can have 107 in all


class Cluster:
    """One cluster; `with Cluster(directory) as cluster:` starts and stops it.

    Args:
        directory: a directory of its own, made where it is missing. Its path has at most 70
            characters: below it are sockets, and what is longer SLURM refuses at a job's start.
        accounting: with slurmdbd and a database, so that `sacct` answers, and `sbatch` takes
            only accounts that the user has: `lab`.

    Attributes:
        nodes: names of the nodes, four GPUs, 8 cores and 16000 MB each.
        out_of_memory: state of a job that held more memory than it asked for.
    """

    nodes = NODES

    def __init__(self, directory: Path, accounting: bool = False) -> None:
        self.directory, self.accounting = directory.resolve(), accounting
        if len(str(self.directory)) > _LONGEST:
            sys.exit(f"ERROR: too long for sockets: {self.directory}\nHint: choose one below /tmp")
        self._cgroups = os.access(CGROUP_MOUNT / "memory" / "release_agent", os.W_OK)
        self.out_of_memory = "OUT_OF_MEMORY" if self._cgroups else "FAILED"
        # cgroups are named by the job's number, in all clusters: each has numbers of its own
        self._block = random.randrange(1, 9000)
        self._daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """Variables with which SLURM's commands find this cluster, inside its jobs too.

        A job of Snakemake's drops all variables of SLURM, `SLURM_CONF` among them. So the PATH
        begins with the same commands, bound to this cluster.
        """
        path = f"{self.directory}/bin:{os.environ['PATH']}"
        return {"SLURM_CONF": str(self.directory / "slurm.conf"), "PATH": path}

    def call(self, *command: str) -> str:
        """What a command prints, in this cluster; RuntimeError with its words when it fails."""
        done = subprocess.run(
            command,
            env=os.environ | self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Number of a new batch job that runs `script` with bash."""
        output = f"--output={self.directory}/job-%j.log"
        return self.call("sbatch", "--parsable", output, *options, f"--wrap={script}").strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` tells of a job: `JobState`, `Reason`, `NodeList` ..."""
        words = self.call("scontrol", "show", "job", "--oneliner", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self, number: str) -> str:
        """What a job of `submit` printed."""
        return (self.directory / f"job-{number}.log").read_text()

    def wait(self, number: str, *states: str, seconds: float = 60) -> dict[str, str]:
        """The job, once it is in one of the states; AssertionError when it does not get there."""
        until(lambda: self.job(number)["JobState"] in states, seconds, lambda: self.job(number))
        return self.job(number)

    def clear(self) -> None:
        """Cancel all jobs, wait until they are gone, and bring back what was taken down."""
        if "slurmctld" not in self._daemons:
            self.slurmctld_start()
        numbers = self.call("squeue", "-h", "-o", "%A").split()
        if numbers:
            # those that wait go at once; those that run do not get the time to react
            self.call("scancel", *numbers)
            with contextlib.suppress(RuntimeError):
                self.call("scancel", "--signal=KILL", "--full", *numbers)
        until(lambda: not self.call("squeue", "-h"), 60, lambda: self.call("squeue"))
        for node in NODES:
            self.node_resume(node)

    def start(self) -> None:
        """Start all daemons and wait until both nodes take jobs."""
        install(self.accounting)
        try:
            self._database_port = write(
                self.directory, self.accounting, self._cgroups, self._block * 1000
            )
            hosts(self.directory, NODES)
            self._daemon("munged", "--foreground", "--force", *self._munge())
            until((self.directory / "munge.socket").exists, 20, lambda: self._tail("munged"))
            if self.accounting:
                self._start_accounting()
            self.slurmctld_start()
            for node in NODES:
                self._start_node(node)
            until(lambda: all(map(self._idle, NODES)), 60, lambda: self._tail("slurmctld"))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything: jobs are killed, no process and no line in /etc/hosts is left."""
        names = ["slurmctld", *NODES, "slurmdbd", "mariadbd", "munged"]
        for name in names[: 1 + len(NODES)]:
            self._end(name)
        self._kill_jobs()
        for name in names[1 + len(NODES) :]:
            self._end(name)
        self._remove_cgroups()
        hosts(self.directory)

    def slurmctld_stop(self) -> None:
        """Take the controller down; jobs run on."""
        self._end("slurmctld")

    def slurmctld_start(self, *options: str) -> None:
        """Start the controller from its saved state and wait until it answers."""
        self._daemon("slurmctld", "-D", *options)
        until(self._answers, 60, lambda: self._tail("slurmctld"))

    def slurmctld_restart(self) -> None:
        """Stop the controller and start it again."""
        self.slurmctld_stop()
        self.slurmctld_start()

    def node_kill(self, node: str) -> None:
        """Let a node die: its daemon and all its processes at once, and the state set to down."""
        self._daemons[node].kill()
        self._daemons.pop(node).wait()
        self._kill_jobs(node)
        self.call("scontrol", "update", f"nodename={node}", "state=down", "reason=dead")

    def node_resume(self, node: str) -> None:
        """Bring a dead node back, and wait until it takes jobs."""
        if node not in self._daemons:
            self._start_node(node)

        def back() -> bool:
            # refused where the node has come back by itself meanwhile
            if self._closed(node):
                self._asks("scontrol", "update", f"nodename={node}", "state=resume")
            return not self._closed(node)

        until(back, 60, lambda: self._tail(node))

    def processes(self, *nodes: str) -> list[int]:
        """Ids of the processes of jobs, and of what SLURM runs for them; of all nodes by default.

        The daemons are not among them.
        """
        daemons = {daemon.pid for daemon in self._daemons.values()}
        found = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if lives(entry)]
        return [
            pid
            for pid in found
            if pid not in daemons and any(self._belongs(pid, node) for node in nodes or NODES)
        ]

    def _belongs(self, pid: int, node: str) -> bool:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            files = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            return False
        # a job has the PATH of who submitted it; SLURM's own process beside it writes to a log
        here = [one for one in variables if one.startswith(b"PATH=")]
        return f"{self.directory}/slurmd.{node}.log" in files or (
            f"SLURMD_NODENAME={node}".encode() in variables
            and any(f"{self.directory}/bin:".encode() in one for one in here)
        )

    def _kill_jobs(self, *nodes: str) -> None:
        for _ in range(100):
            left = self.processes(*nodes)
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _remove_cgroups(self) -> None:
        """Take away what killed jobs left; empty cgroups only, others' jobs are not touched."""
        roots = [CGROUP_MOUNT / "memory" / f"slurm_{node}" for node in NODES]
        for _ in range(50):  # a killed process may leave its own a moment later
            ours = [
                job
                for root in roots
                for job in root.glob("uid_*/job_*")
                if int(job.name[4:]) // 1000 == self._block
            ]
            below = [one for job in ours for one in [job, *job.rglob("*")] if one.is_dir()]
            users = [user for root in roots for user in root.glob("uid_*")]
            for group in [*sorted(below, reverse=True), *users, *roots]:
                with contextlib.suppress(OSError):
                    group.rmdir()
            if not any(job.exists() for job in ours):
                return
            time.sleep(0.1)

    def _munge(self) -> Iterator[str]:
        """Options that keep munged out of the system's directories."""
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        for option, ending in files.items():
            yield f"--{option}={self.directory}/munge.{ending}"

    def _start_accounting(self) -> None:
        database, socket_file = self.directory / "database", self.directory / "database.socket"
        installer = shutil.which("mariadb-install-db", path=path()) or "mariadb-install-db"
        user = getpass.getuser()
        self.call(
            installer, "--no-defaults", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--skip-name-resolve", "--force", f"--user={user}",
            f"--datadir={database}",
        )  # fmt: skip
        self._daemon(
            "mariadbd", "--no-defaults", f"--user={user}", f"--datadir={database}",
            f"--socket={socket_file}", f"--port={self._database_port}",
            "--bind-address=127.0.0.1", "--skip-name-resolve",
            f"--pid-file={self.directory}/database.pid",
            "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip
        until(socket_file.exists, 60, lambda: self._tail("mariadbd"))
        self._daemon("slurmdbd", "-D")
        until(
            lambda: self._asks("sacctmgr", "-n", "list", "qos"), 60, lambda: self._tail("slurmdbd")
        )
        for words in (
            "add cluster lockgate",
            "add account lab",
            f"add user {user} account=lab",
            f"modify user {user} set defaultaccount=lab",
        ):
            self.call("sacctmgr", "-i", *words.split())

    def _start_node(self, node: str) -> None:
        self._daemon(node, "-D", "-N", node, program="slurmd")

    def _daemon(self, name: str, *options: str, program: str = "") -> None:
        program = shutil.which(program or name, path=path()) or name
        with open(self.directory / f"{name}.out", "a") as log:
            self._daemons[name] = subprocess.Popen(
                [program, *options],
                env=os.environ | self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # Ctrl-C at the terminal is for the command that stops them in order; where that one
                # is killed, they end too
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _end(self, name: str) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _asks(self, *command: str) -> bool:
        try:
            self.call(*command)
        except RuntimeError:
            return False
        return True

    def _answers(self) -> bool:
        return self._asks("scontrol", "show", "nodes")

    def _node_state(self, node: str) -> str:
        return dict(
            word.split("=", 1)
            for word in self.call("scontrol", "show", "node", "--oneliner", node).split()
            if "=" in word
        )["State"]

    def _closed(self, node: str) -> bool:
        return bool({"DOWN", "DRAIN", "DOWN*"} & set(self._node_state(node).split("+")))

    def _idle(self, node: str) -> bool:
        return self._node_state(node) == "IDLE"

    def _tail(self, name: str) -> str:
        files = (self.directory / f"{name}.out", self.directory / f"{name}.log")
        return "\n".join(file.read_text()[-2000:] for file in files if file.exists())


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd: sacct answers")
    parser.add_argument("--directory", type=Path, help="of the cluster; kept")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="cluster-") as scratch:
        cluster = Cluster(arguments.directory or Path(scratch), arguments.accounting)
        with cluster:
            print(f"{len(NODES)} nodes with 4 GPUs each are up. In another terminal:\n")
            own = cluster.directory
            print(f"export SLURM_CONF={own}/slurm.conf PATH={own}/bin:$PATH")
            print("sinfo; srun --gres=gpu:1 env | grep CUDA; snakemake --profile slurm\n")
            print("Ctrl-C stops it.", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


if __name__ == "__main__":
    main()
