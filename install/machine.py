"""Which build of torch fits this machine, and whether there is room for it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
#: The kernel's list of AMD cards that can compute.
KFD = Path("/sys/class/kfd/kfd/topology/nodes")


@dataclass(frozen=True)
class Build:
    """A build of torch: for what, uv's name for it, why this one, and the room for it and its packed files."""

    name: str
    backend: str
    why: str
    gigabytes: int

    def __str__(self) -> str:
        return f"torch for {self.name}, because {self.why}."


def choose() -> Build:
    """The build that this machine can use. Exits where there is none."""
    if sys.platform == "darwin":
        if platform.machine() != "arm64":
            sys.exit(
                "There is no torch for Macs with Intel processors any more, so no daemon can be installed here."
            )
        return Build("Apple's Metal", "auto", "this is a Mac with Apple silicon", 2)
    card = _nvidia()
    if card:
        return Build("CUDA", "auto", card, 12)
    if _amd() and (shutil.which("rocm_agent_enumerator") or shutil.which("rocminfo")):
        return Build("ROCm", "auto", "there is an AMD card with ROCm", 24)
    if _amd():
        why = "there is an AMD card, but no ROCm; install that and run this again to use the card"
    else:
        why = "there is neither an NVIDIA card with its driver, nor an AMD card with ROCm"
    return Build("the processor", "cpu", why, 2)


def _nvidia() -> str:
    """What is known of an NVIDIA card, or nothing if there is none that can be used."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        found = []
    if found:
        name, _, driver = found[0].partition(", ")
        return f"nvidia-smi names the card {name}, driver {driver}"
    return "the driver of NVIDIA is loaded" if NVIDIA_DRIVER.is_file() else ""


def _amd() -> bool:
    """Whether an AMD card can compute; the processor is in the list too, as number 0."""
    try:
        return any(node.read_text().strip() not in ("", "0") for node in KFD.glob("*/gpu_id"))
    except OSError:
        return False


def require_room(folder: Path, gigabytes: int) -> None:
    """Exits with advice if the disk of a folder, which need not be there yet, has less free."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    if free < gigabytes:
        sys.exit(
            f"The daemon needs about {gigabytes} GB while it is installed, but the disk of {there} has"
            f" {free:.1f} GB left. Make room there, or name a folder on another disk by the variable"
            " DEEPDREAM_DATA, and run this again."
        )
