"""The files of a cluster: configuration, keys, device files, and commands bound to it."""

from __future__ import annotations

import getpass
import secrets
import shutil
import socket
from pathlib import Path

from machine import device, free_ports, path, secret

NODES = ("gpu1", "gpu2")
COMMANDS = (
    "sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "sprio", "squeue", "srun",
    "sstat",
)  # fmt: skip
CGROUP_MOUNT = Path("/sys/fs/cgroup")

CONF = """\
ClusterName=lockgate
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# a requeued job waits for as long as a credential lives
AuthInfo=socket={directory}/munge.socket,cred_expire=15
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool.%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
ReturnToService=2
FirstJobId={first}

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
DefMemPerCPU=1000
SlurmdParameters=config_overrides

JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2

# sbatch tells at once what can never run
EnforcePartLimits=ALL
JobRequeue=1
KillWait=30
OverTimeLimit=0
MinJobAge=300
# a busy machine answers late; a launch confirmed later than this leaves the job held
MessageTimeout=60
BatchStartTimeout=60
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=5,bf_interval=5
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE

NodeName={names} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports} \
CPUs=8 RealMemory=16000 Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 GraceTime=30
PartitionName=short Nodes=ALL MaxTime=5 PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""

CGROUPS = "TaskPlugin=task/cgroup\n"
CGROUP_CONF = """\
CgroupPlugin=cgroup/v1
CgroupMountpoint={mount}
ConstrainRAMSpace=yes
ConstrainSwapSpace=no
"""
NO_CGROUPS = "TaskPlugin=task/none\nJobAcctGatherParams=OverMemoryKill\n"

NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\n"

ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accountant}
AccountingStoragePass={directory}/munge.socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
"""

ACCOUNTANT_CONF = """\
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={accountant}
SlurmUser={user}
PidFile={directory}/slurmdbd.pid
LogFile={directory}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=root
StorageLoc=slurm
"""


def write(directory: Path, accounting: bool, cgroups: bool, first: int) -> int:
    """Write everything that a cluster reads; the port of its database.

    Args:
        directory: of the cluster.
        accounting: with slurmdbd.
        cgroups: memory is enforced by the kernel.
        first: number of the first job.
    """
    for name in ("bin", "state", *(f"spool.{node}" for node in NODES)):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        command, real = directory / "bin" / name, shutil.which(name, path=path())
        if real:
            command.write_text(f'#!/bin/sh\nSLURM_CONF={directory}/slurm.conf exec {real} "$@"\n')
            command.chmod(0o755)
    secret(directory / "munge.key", secrets.token_bytes(128))
    for number in range(4):
        device(directory / f"gpu{number}", number)
    controller, accountant, database, *nodes = free_ports(3 + len(NODES))
    values = {
        "directory": directory,
        "host": socket.gethostname().split(".")[0],
        "user": getpass.getuser(),
        "controller": controller,
        "accountant": accountant,
        "database": database,
        "names": ",".join(NODES),
        "first": first,
        "ports": ",".join(map(str, nodes)),
    }
    conf = CONF + (ACCOUNTING if accounting else NO_ACCOUNTING)
    conf += CGROUPS if cgroups else NO_CGROUPS
    (directory / "slurm.conf").write_text(conf.format(**values))
    (directory / "cgroup.conf").write_text(CGROUP_CONF.format(mount=CGROUP_MOUNT))
    gres = f"NodeName={','.join(NODES)} Name=gpu File={directory}/gpu[0-3]\n"
    (directory / "gres.conf").write_text(gres)
    secret(directory / "slurmdbd.conf", ACCOUNTANT_CONF.format(**values).encode())
    return database
