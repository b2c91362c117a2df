# SPDX-License-Identifier: Apache-2.0
"""The systemd unit that `doctor --systemd` prints: the whole machine, with as little power as capture can do with."""

from __future__ import annotations

__all__ = ["unit"]

_UNIT = """\
# Save as /etc/systemd/system/oisp-sensor.service, then: systemctl daemon-reload; systemctl enable --now oisp-sensor
# `systemctl reload oisp-sensor` reopens the file after logrotate; `systemctl kill -s USR1` logs the sensor's account.
[Unit]
Description=OISP sensor: what AI agents on this machine ask which model
Documentation=man:systemd.exec(5)

[Service]
ExecStart={program} record --all --out /var/log/oisp/events.jsonl --rotate 256M
ExecReload=kill -HUP $MAINPID
Restart=on-failure
RestartSec=10
KillSignal=SIGTERM
TimeoutStopSec=30
LogsDirectory=oisp
LogsDirectoryMode=0700
UMask=0077
MemoryMax=512M
CPUWeight=20
TasksMax=32
LimitCORE=0

# Why each: load programs; attach probes; see files as others mapped them, wherever they lie; /proc/PID/map_files.
CapabilityBoundingSet=CAP_BPF CAP_PERFMON CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYS_ADMIN
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
PrivateNetwork=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelModules=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service bpf perf_event_open
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit(program: str) -> str:
    """`program`: the path of oisp-sensor."""
    return _UNIT.format(program=program)
