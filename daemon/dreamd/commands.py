"""The commands of `deepdream`, one function each; their docstrings are their help.

What few of them need is imported where it is needed, so that all of them come back at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamwire.classes import search, synonyms
from dreamwire.errors import DreamError
from dreamwire.networks import CLASSES, find_network, is_of_timm
from dreamwire.params import JOBS, Param, markdown
from dreamwire.presets import drop_preset, keep_preset, parse_preset
from dreamwire.presets import presets as all_presets

from .call import FAILED, OK, Call, write
from .telling import told
from .terminal import Bar, table

if TYPE_CHECKING:
    from .health import Check


def picture(kind: str, call: Call) -> int:
    """Have a job of a kind make a picture of a picture."""
    from .dreaming import run  # noqa: PLC0415 - numpy and image files

    return run(call, kind)


def catalogue(call: Call) -> int:
    """See what each layer, or each channel of a layer, makes of a picture, or knows of it: a sheet."""
    from .cataloguing import run  # noqa: PLC0415 - numpy and image files

    return run(call)


def zoom(call: Call) -> int:
    """Dream and zoom, frame after frame: a folder of pictures, a GIF or a video."""
    from .zooming import run  # noqa: PLC0415 - numpy and image files

    return run(call)


def classes(call: Call) -> int:
    """Find the classes that networks tell apart, by words of their names."""
    words = " ".join(call.arguments.words)
    found = search(words) if words else range(len(synonyms()))
    if not found:
        raise DreamError("bad_params", f"No class has {words!r} in its names. `deepdream classes` lists all 1000.")
    rows = [(str(number), synonyms()[number]) for number in found]
    value = [{"number": int(number), "name": names[0], "names": names} for number, names in rows]
    call.result(value, table([(number, names[0], ", ".join(names[1:])) for number, names in rows], "><"))
    return OK


def presets(call: Call) -> int:
    """List the presets, add one of your own, or remove it."""
    if call.arguments.add:
        keep_preset(parse_preset(call.arguments.add))
    if call.arguments.remove:
        drop_preset(call.arguments.remove)
    rows: list[Sequence[str]] = []
    for row in all_presets().values():
        rows += [(row.name, row.help), ("", row.line)]
    call.result([dataclasses.asdict(row) | {"line": row.line} for row in all_presets().values()], table(rows))
    return OK


def networks(call: Call) -> int:
    """List the networks: which are here, which are loaded, which can be pulled."""
    with call.client() as client:
        found = client.networks()
    rows = [(row["name"], _where(row), f"{row['megabytes']:.0f} MB", row["help"]) for row in found]
    call.result(found, table([("network", "weights", "size", ""), *rows], "<<>"))
    return OK


def _where(row: dict[str, Any]) -> str:
    return "loaded" if row["loaded"] else "here" if row["here"] else "to pull"


def layers(call: Call) -> int:
    """List a network's layers: how far each sees, how dense it is, its channels."""
    network = find_network(call.arguments.network)
    rows: list[Sequence[str]] = [("layer", "sees", "every", "channels", "")]
    value = []
    for name, layer in network.layers.items():
        default = name == network.default_layer
        remarks = [
            *["the default"] * default,
            *["sees something of everything"] * layer.whole,
            *["their scores"] * (name == CLASSES),
        ]
        row = f"{layer.field} px", f"{layer.stride} px", str(layer.channels), ", ".join(remarks)
        rows.append((name, *row))
        value.append({"name": name, "default": default, "field": layer.field} | dataclasses.asdict(layer))
    call.result(value, table(rows, "<>>>"))
    return OK


def pull(call: Call) -> int:
    """Fetch a network's weights, or take them from a file."""
    name = call.arguments.network
    label = name if is_of_timm(name) else find_network(name).label
    with Bar(label) as bar:

        def show(fetched: int, total: int) -> None:
            fraction = fetched / total if total else 0.0
            bar.show(f"{fetched / 1e6:.0f} of {total / 1e6:.0f} MB" if total else "fetching", fraction)

        if call.arguments.weights:
            from .weights import adopt, pull_timm  # noqa: PLC0415 - what fetching and hashing need

            file = Path(call.arguments.weights).absolute()
            if is_of_timm(name):
                pull_timm(name, progress=show, file=file)
            else:
                adopt(find_network(name), file)
        else:
            with call.client() as client:
                for event in client.pull(name):
                    show(event.bytes, event.total)
    row = find_network(name)
    call.result({"network": row.name}, f"{row.label} is ready: `deepdream dream IN -o OUT --network {row.name}`.")
    return OK


def params(call: Call) -> int:
    """Show the parameters of a kind of job: what they mean, may be and are by default."""
    kind = call.arguments.kind
    if call.arguments.markdown:
        write(markdown(kind).rstrip())
        return OK
    rows = list(JOBS[kind].params.values())
    lines = [line for row in rows for line in _explained(row)]
    call.result([_described(row) for row in rows], table(lines))
    return OK


def _explained(row: Param) -> list[tuple[str, str]]:
    """A parameter for a person, as rows of a table."""
    default = "empty" if row.default == "" else str(row.default)
    if row.choices is not None:
        choices = [("", f"{choice}: {text}") for choice, text in row.choices.items()]
        return [(row.name, f"{default} by default"), ("", row.help), *choices]
    return [(row.name, f"{default} by default; {row.range}"), ("", row.help)]


def _described(row: Param) -> dict[str, Any]:
    """A parameter for a program: JSON has no infinity, which stands for a limit that there is not."""
    limits = {name: None for name in ("minimum", "maximum", "usual") if math.isinf(getattr(row, name))}
    return dataclasses.asdict(row) | limits | {"flag": row.flag, "range": row.range}


def serve(call: Call) -> int:
    """Run the daemon here, until it is stopped."""
    from .serving import serve as run  # noqa: PLC0415 - the daemon's imports are not the clients'

    return run(call.arguments)


def status(call: Call) -> int:
    """Show what the daemon is doing; this command does not start it."""
    with call.client(start=False) as client:
        found = client.status()
    call.result(found, table(told(found)))
    return OK


def health(call: Call) -> int:
    """Send a tiny job through all parts of the daemon; say which one is ill. Does not start the daemon."""
    from .health import examine  # noqa: PLC0415 - what few commands need

    return _report(call, examine(partial(call.client, start=False), call.arguments.patience))


def stop(call: Call) -> int:
    """End the daemon."""
    from dreamwire.errors import NobodyListensError  # noqa: PLC0415

    try:
        with call.client(start=False) as client:
            client.shutdown()
            client.wait_until_gone()
    except NobodyListensError:
        call.result({"running": False}, "No daemon was running.")
    else:
        call.result({"running": False}, "The daemon has ended.")
    return OK


def keys(call: Call) -> int:
    """Show, make, allow and revoke the keys by which computers know each other."""
    from . import keys as kept  # noqa: PLC0415 - zmq

    what, key, name, at = (getattr(call.arguments, each) for each in ("what", "key", "name", "at"))
    if what == "new":
        public = kept.make(anew=call.arguments.anew).public.hex()
        lines = [
            f"This computer's key is {public}.",
            "Where it is to be let in, or to be called from, `deepdream keys allow` takes it.",
        ]
        call.result({"own": public}, "\n".join(lines))
    elif what == "allow":
        if bool(name) == bool(at):
            raise DreamError(
                "bad_params", "Say whose key it is: --name NAME for a client, --at ENDPOINT for a daemon."
            )
        allowed = kept.allow(key, name or at)
        may = f"The daemon at {at} may be called now." if at else f"{allowed.name} may call now."
        call.result(dataclasses.asdict(allowed), may)
    elif what == "revoke":
        gone = kept.revoke(key)
        call.result(
            [dataclasses.asdict(each) for each in gone], f"Revoked: {', '.join(each.name for each in gone)}."
        )
    else:
        _list_keys(call)
    return OK


def _list_keys(call: Call) -> None:
    from . import keys as kept  # noqa: PLC0415 - zmq

    try:
        own = kept.own().public.hex()
    except DreamError as error:
        own, none = "", error.message
    known = kept.known()
    rows = [("this computer", own or none), *((each.name, each.key) for each in known)]
    found = {
        "own": own,
        "clients": [dataclasses.asdict(each) for each in known if not each.is_daemon],
        "daemons": [dataclasses.asdict(each) for each in known if each.is_daemon],
    }
    call.result(found, table(rows))


def relay(call: Call) -> int:
    """Stand on this computer for a daemon on another one; clients start this by themselves."""
    from .serving import relay as run  # noqa: PLC0415 - zmq

    return run(call.arguments)


def doctor(call: Call) -> int:
    """Check the installation, a tiny dream included; say how to mend what is wrong."""
    from .doctor import examine  # noqa: PLC0415 - looks at much that nobody else needs

    checks = list(examine(call.client))
    if file := call.arguments.bundle:
        from .bundle import write as write_bundle  # noqa: PLC0415

        write_bundle(file, checks, partial(call.client, start=False))
        call.say(f"{file} can be sent: this, settings and logs, without names and keys. Look into it first.")
    return _report(call, checks)


def _report(call: Call, examined: Iterable[Check]) -> int:
    """Shows what was found, and how to mend it; whether all is well, as an exit code."""
    checks = list(examined)
    call.result(
        [dataclasses.asdict(check) for check in checks], table([row for check in checks for row in check.rows])
    )
    return OK if all(check.ok for check in checks) else FAILED
