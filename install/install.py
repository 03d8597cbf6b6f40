"""`python3 install/install.py`: Deep Dream for this user, the daemon and the plug-in in every GIMP 3.

The daemon gets a Python environment of its own in the user's folder of data. Running this again upgrades;
`--uninstall` takes everything away.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - older ones come as far as here
    sys.exit(f"Python 3.10 or newer is needed; this one is {sys.version.split()[0]}.")

sys.dont_write_bytecode = True  # the checkout stays as it is
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "daemon"), str(ROOT / "plugin" / "deep-dream")]

import consoles  # noqa: E402
import machine  # noqa: E402
import plugin_folder  # noqa: E402
import project  # noqa: E402
import removal  # noqa: E402
import service  # noqa: E402
from dreamd import gimps  # noqa: E402
from dreamd.gimps import PROCEDURE, Place  # noqa: E402
from dreamwire import __version__, launch, paths  # noqa: E402
from project import Venv  # noqa: E402

#: In the daemon's environment: what has been installed.
STAMP = "fingerprints.json"
#: What has to work in the daemon's Python; the answer says what it will dream on.
EXAMINE = """
import json, pathlib
import msgpack, numpy, pyvips, torch, zmq
import dreamd.cli, dreamd.server, dreamd.worker
from dreamd.devices import choose_device, device_name
device = choose_device("auto")
packages = str(pathlib.Path(msgpack.__file__).parents[1])
print(json.dumps({"torch": torch.__version__, "device": device_name(device), "packages": packages}))
"""


def main() -> int:
    """Installs or uninstalls, says what was done, and what to do next."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    arguments = parse()
    os.umask(os.umask(0o022) | 0o022)  # what others could write, the daemon and its clients would not trust
    try:
        if arguments.uninstall:
            return uninstall(arguments.gimp_dir)
        return install(arguments.gimp_dir, linked=arguments.link, served=arguments.service)
    except KeyboardInterrupt:
        print("\nInterrupted. Run this again to go on.", file=sys.stderr)
        return 130


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 install/install.py", description="Install Deep Dream for this user, or upgrade it."
    )
    parser.add_argument("--uninstall", action="store_true", help="remove everything, fetched weights too")
    parser.add_argument(
        "--link", action="store_true", help="link the plug-in to this checkout and use its .venv, to work on them"
    )
    parser.add_argument(
        "--service",
        action="store_true",
        help="have the system start the daemon: systemd when it is needed, launchd or Windows when you log in",
    )
    parser.add_argument(
        "--gimp-dir",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a configuration folder of GIMP, instead of those that are found; may be given several times",
    )
    arguments = parser.parse_args()
    arguments.gimp_dir = [folder.expanduser().absolute() for folder in arguments.gimp_dir]
    for folder in arguments.gimp_dir:
        if folder.name == "plug-ins":
            parser.error(f"{folder} is the folder of plug-ins; name the one that it is in")
        if not folder.is_dir() and not arguments.uninstall:
            parser.error(f"there is no folder {folder}; GIMP makes it when it is started for the first time")
    if os.environ.get("SUDO_USER"):
        parser.error("this installs for the user who runs it and needs no other rights; run it without sudo")
    return arguments


def install(gimp_dirs: Sequence[Path], *, linked: bool, served: bool) -> int:
    every = consoles.find()
    found = [gimp for gimp in every if gimp.is_three]
    known = {place.folder: place for place in gimps.places()}
    places = [known.get(folder, Place(folder)) for folder in gimp_dirs] or find_places(found)
    made = [*plugin_folder.make_folder(paths.data_dir()), *plugin_folder.make_folder(paths.log_dir().parent)]
    gimps.write_record(made=made)
    venv, is_new = (project.VENV, project.ready() > 0) if linked else install_daemon()
    about = examine(venv)
    print(f"The daemon is in {venv.folder}: torch {about['torch']}, on the {about['device']}.")
    before = command()
    write_command(venv)
    served = served or service.is_installed()
    troubles = stop_daemon() if is_new or served or command() != before else []
    if about["device"] == "processor" and machine.choose().backend != "cpu":
        troubles.append(
            f"{machine.choose()} But this torch finds no card that it can use, so the processor does the work."
            f" Bring the card's driver up to date, remove {venv.folder}, and run this again."
        )

    filled = []
    for place in places:
        as_link = linked and place.sandbox != "snap"  # which may not read what a link leads to
        try:
            made = plugin_folder.put(place, Path(about["packages"]), linked=as_link)
        except plugin_folder.RefusedError as error:
            troubles.append(f"{place.name}: {error}")
        else:
            filled.append(place)
            gimps.write_record([place.folder], made)
            how = "linked" if as_link else "copied"
            print(f"{place.name}: the plug-in {__version__} is {how} to {place.plugin}.")
    troubles += [trouble for place in filled for trouble in ask(place, found)]
    sandboxed = any(place.sandbox for place in filled) or (bool(filled) and any(gimp.sandbox for gimp in found))
    if served:
        try:
            print(service.put(venv, sandboxed=sandboxed))
        except service.RefusedError as error:
            troubles.append(str(error))

    if not places:
        print(f"\n{nowhere([gimp for gimp in every if not gimp.is_three])}")
    print(f"\n{next_steps(bool(filled), by_hand=sandboxed and not service.listens())}")
    if troubles:
        print("\nNot all went well:", *troubles, sep="\n- ")
    return 1 if troubles else 0


def find_places(found: Iterable[consoles.Console]) -> list[Place]:
    """Where the plug-in goes: GIMP's folders, made by GIMP itself where it has not been started yet."""
    for gimp in found:
        if any(gimp.uses(place) for place in gimps.places()):
            continue
        # If the folder were there already, GIMP would neither fill it nor take along an older GIMP's settings.
        print(f"{gimp} has no folder yet; it is started once to make one.")
        try:
            gimp.ask()
        except consoles.SilentError as error:
            print(f"It could not make one. {error}")
    return gimps.places()


def install_daemon() -> tuple[Venv, bool]:
    """Installs the daemon, or brings it up to date; whether there was anything to do."""
    build = machine.choose()
    print(f"Chosen: {build}")
    data = paths.data_dir()
    venv = Venv(data / "venv", data / "install.log", build.backend, fetch_uv=True)
    wanted = fingerprints(build)
    stamp = venv.folder / STAMP
    done = json.loads(stamp.read_text()) if stamp.is_file() else []
    if done == wanted and venv.python.is_file():
        return venv, False
    stop_daemon()  # it would load half of what is new
    if done[:1] != wanted[:1]:
        shutil.rmtree(venv.folder, ignore_errors=True)
        machine.require_room(data, build.gigabytes)
        print(f"It takes up to {build.gigabytes} GB in {data}, some of them only for now.")
    # A cache of its own leaves nothing behind; after a break it saves what was fetched.
    cache = data / "cache"
    caches = {name: os.environ.get(name) or str(cache) for name in ("PIP_CACHE_DIR", "UV_CACHE_DIR")}
    venv.install([*project.CONSTRAINTS, str(ROOT)], caches)
    stamp.write_text(json.dumps(wanted))
    shutil.rmtree(cache, ignore_errors=True)
    return venv, True


def fingerprints(build: machine.Build) -> list[str]:
    """Of what an environment is made for, which cannot be changed later, and of what is installed in it."""
    sources = [*(ROOT / "daemon").rglob("*.py"), *(plugin_folder.SOURCE / "dreamwire").rglob("*.py")]
    settings = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    return [f"{build.name}, {sys.version}", project.fingerprint(*settings, *sorted(sources))]


def examine(venv: Venv) -> dict[str, str]:
    """Sees that all that the daemon needs can be imported; what it is. Exits with advice if it cannot."""
    done = subprocess.run([venv.python, "-I", "-c", EXAMINE], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"{done.stderr.strip()[-2000:]}\n\nThe daemon is installed, but does not work: its Python cannot"
            f" import what it needs. Remove {venv.folder}, and run this again."
        )
    about: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return about


def write_command(venv: Venv) -> None:
    """Writes down how to start the daemon, where clients look."""
    for folder in paths.client_dirs():
        gimps.write_record(made=plugin_folder.make_folder(folder))
        new = folder / f"{launch.COMMAND_FILE}.new"
        new.write_text(f"{venv.program('deepdream')}\n", encoding="utf-8")
        new.replace(folder / launch.COMMAND_FILE)


def command() -> list[str]:
    """How to start the daemon that is installed; empty if none is."""
    file = paths.data_dir() / launch.COMMAND_FILE
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def stop_daemon() -> list[str]:
    """Ends the user's daemon, also the one that a GIMP in a sandbox uses; what went wrong."""
    service.stop()  # else whoever connects next, `stop` itself, would start it again
    troubles = []
    for where in ((), ("--endpoint", paths.LOOPBACK_ENDPOINT)) if command() else ():
        stop = [*command(), "stop", *where]
        try:
            done = subprocess.run(stop, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            troubles.append(f"If a daemon runs, it could not be ended: {error}. End it yourself.")
            break
        if "has ended" in done.stdout:
            print("The running daemon was ended.")
        elif done.returncode and not where:  # at the port there may be anybody's
            troubles.append(f"If a daemon runs, it could not be ended. {done.stderr.strip()[-300:]}")
    return troubles


def ask(place: Place, found: Iterable[consoles.Console]) -> list[str]:
    """Asks the GIMPs that look there whether they know the plug-in; what went wrong."""
    asked = [gimp for gimp in found if gimp.uses(place)]
    if not asked:
        print(f"{place.name}: no program of it was found that could be asked whether it lists {PROCEDURE}.")
    troubles = []
    for gimp in asked:
        print(f"Asking {gimp} ...", file=sys.stderr)
        try:
            there, complaint = gimp.ask(None if gimp.sandbox else place)
        except consoles.SilentError as error:
            print(f"{gimp} could not be asked whether it lists {PROCEDURE}. {error}")
            continue
        if there:
            print(f"{gimp} lists {PROCEDURE}.")
        else:
            troubles.append(
                f"{gimp} does not list {PROCEDURE}. {complaint or 'The plug-in says nothing'}. Started in a"
                f" terminal, GIMP may say more of {place.plugin}."
            )
    return troubles


def nowhere(others: Iterable[consoles.Console]) -> str:
    """That no GIMP 3 was found, what was looked for, and what to do."""
    older = "".join(f" There is {gimp}, but the plug-in needs GIMP 3." for gimp in others)
    folders = ", ".join(str(base / "3.*") for base in gimps.bases())
    return (
        f"No GIMP 3 was found: no folder {folders}, and no program such as gimp-console or gimp.{older} The daemon"
        " and the command line are installed all the same. Install GIMP 3, or start yours once, and run this"
        " again; or name its folder by --gimp-dir (GIMP shows it under Edit > Preferences > Folders > Plug-ins)."
    )


def next_steps(in_gimp: bool, *, by_hand: bool) -> str:
    """What to do next; `by_hand` if there is a GIMP for which nobody starts the daemon."""
    lines = ["What next:"]
    if in_gimp:
        lines += [
            "  Start GIMP, or restart it, open a picture, select something, and choose",
            "  Filters > Deep Dream > Dream...",
        ]
    if by_hand:
        lines += [
            "  A GIMP in a flatpak or a snap may not start the daemon. Have this run in a terminal meanwhile:",
            f"    {launch.typed('serve', '--endpoint', paths.LOOPBACK_ENDPOINT)}",
            "  or have systemd start it, by python3 install/install.py --service",
        ]
    lines += [
        f"  {launch.typed('dream', 'PHOTO.jpg', '-o', 'OUT.png')}",
        "      dreams without GIMP",
        f"  {launch.typed('doctor')}",
        "      says what is wrong, if something is",
        "  python3 install/install.py --uninstall",
        "      removes everything",
    ]
    return "\n".join(lines)


def uninstall(gimp_dirs: Sequence[Path]) -> int:
    troubles = stop_daemon()
    done = removal.uninstall(gimp_dirs)
    for path, size in done.removed:
        print(f"Removed {path} ({megabytes(size)}).")
    if done.removed:
        print(f"Deep Dream is uninstalled; {megabytes(sum(size for _, size in done.removed))} are free again.")
    else:
        print("Nothing of Deep Dream is installed for this user.")
    troubles += done.left
    if troubles:
        print("\nNot all went well:", *troubles, sep="\n- ")
    return 1 if troubles else 0


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
