"""A real systemd of a user, as after a login, on a machine that may have been started by something else."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

SYSTEMD = Path("/lib/systemd/systemd")
#: systemd serves users where it has started the machine: in a namespace of its own it is told that it has.
ENTER = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]
PRETEND = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system"


def why_not() -> str:
    """Why there can be none here; the empty text if there can be."""
    if os.name == "nt" or os.geteuid() != 0:
        return "needs root, to give systemd a namespace of its own"
    if not SYSTEMD.is_file() or not shutil.which("systemctl") or not shutil.which("nsenter"):
        return "needs systemd"
    if subprocess.run([*ENTER, PRETEND], capture_output=True, check=False).returncode:
        return "needs namespaces of mounts and processes, which are not allowed here"
    return ""


@contextlib.contextmanager
def session(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Runs a user's systemd in this environment; what has to be typed for systemctl.

    It ends with the block, and all that it has started.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*ENTER, f"{PRETEND} && {SYSTEMD} --user --unit=basic.target & wait"],
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                for inside in psutil.Process(process.pid).children():
                    # systemd hears nobody whom it cannot see.
                    systemctl = ["nsenter", f"--target={inside.pid}", "--mount", "--pid", "systemctl"]
                    asked = [*systemctl, "--user", "is-system-running"]
                    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
                    if done.stdout.strip() in ("running", "degraded"):
                        yield shlex.join(systemctl)
                        return
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait(10)
