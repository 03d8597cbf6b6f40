"""The GIMPs that the tests run in: Debian systems in folders, made once and kept in the user's cache.

`ready()` sees that they are there, which takes a minute or two for each the first time. They can only be made on
Debian and by root; elsewhere a GIMP 3 of the system's own has to do, or the tests are skipped, and say so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import project

#: Each root: the name of Debian's release, and the GIMP that it is expected to hold.
RELEASES = {"trixie": "3.0", "forky": "3.2"}
PACKAGES = (
    *("gimp", "gir1.2-gimp-3.0", "python3-gi"),
    *("python3-zmq", "python3-msgpack"),  # that tests may hide again
    *("xvfb", "xauth", "xdotool", "openbox", "dbus", "imagemagick"),  # a screen, and hands and eyes before it
    "fonts-dejavu-core",
)
NEEDED = ("debootstrap", "unshare", "mount", "chroot")


@dataclass(frozen=True)
class Root:
    """A Debian system in a folder."""

    release: str
    folder: Path

    @property
    def gimp(self) -> str:
        """The GIMP in it, as 3.0."""
        return RELEASES[self.release]


def roots() -> list[Root]:
    """Where the roots are, or will be: a new list of packages makes new ones."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deep-dream-tests"
    wanted = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:8]
    return [Root(release, cache / f"{release}-{wanted}") for release in RELEASES]


def ready() -> str:
    """Makes the roots that are missing. The empty text, or one line that says why they cannot be made here."""
    missing = [root for root in roots() if not root.folder.is_dir()]
    if not missing:
        return ""
    if sys.platform != "linux" or not Path("/etc/debian_version").is_file():
        return "GIMP for the tests can be installed on Debian only."
    if os.geteuid() != 0:
        return "GIMP for the tests can be installed by root only."
    if not all(map(shutil.which, NEEDED)):
        project.run(["apt-get", "update"], "Reading the lists of packages")
        project.run(["apt-get", "install", "--yes", "debootstrap", "util-linux"], "Installing debootstrap")
    for root in missing:
        _make(root)
    return ""


def _make(root: Root) -> None:
    """Makes a root beside its place and moves it there when it is whole."""
    partial = root.folder.with_name(f"{root.folder.name}.partial")
    _remove(partial)
    root.folder.parent.mkdir(parents=True, exist_ok=True)
    scripts = Path("/usr/share/debootstrap/scripts")
    known = scripts / root.release
    # An older debootstrap does not know a newer release, but its script for unstable serves for any.
    script = known if known.exists() else scripts / "sid"
    made = ["debootstrap", "--variant=minbase", root.release, str(partial), "", str(script)]
    project.run(made, f"Debian {root.release} for GIMP {root.gimp}")
    # The mounts are of a namespace of their own, which ends with the shell. No service is to start in the root.
    install = f"""
        set -e
        mount -t proc proc {partial}/proc
        mount --rbind /dev {partial}/dev
        cp /etc/resolv.conf /etc/hosts {partial}/etc/
        printf '#!/bin/sh\\nexit 101\\n' > {partial}/usr/sbin/policy-rc.d
        chmod +x {partial}/usr/sbin/policy-rc.d
        export DEBIAN_FRONTEND=noninteractive LC_ALL=C
        apt() {{ chroot {partial} apt-get -o Acquire::Check-Valid-Until=false "$@"; }}
        apt update
        apt install --yes --no-install-recommends {" ".join(PACKAGES)}
        apt clean
    """
    project.run(["unshare", "--mount", "sh", "-c", install], f"GIMP {root.gimp}")
    packages = partial / "usr/lib/python3/dist-packages"
    # The same without what no GIMP for Windows, macOS or flatpak has: tests lay it over the other.
    bare = shutil.ignore_patterns("zmq", "pyzmq*", "msgpack*")
    shutil.copytree(packages, partial / "usr/lib/python3/bare-packages", symlinks=True, ignore=bare)
    partial.rename(root.folder)


def _remove(folder: Path) -> None:
    """Removes what a make that was broken off has left. Nothing can be mounted there: see `_make`."""
    if folder.exists():
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(ready())
