"""`deepdream`: one command for the daemon and everything it does.

Client commands import neither torch nor numpy until they need them, so that they come back at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamwire import __version__
from dreamwire.client import Client, JobCancelledError
from dreamwire.errors import DreamError, UnreachableError
from dreamwire.networks import NETWORKS, find_network
from dreamwire.params import JOBS, PARAMS, Param, defaults, markdown

#: Exit codes, as `deepdream --help` explains them.
OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
EPILOG = f"""\
exit codes: {OK} done, {FAILED} refused or failed, {USAGE} wrong usage, {UNREACHABLE} no daemon,
{INTERRUPTED} interrupted. Every command that needs the daemon starts it. DEEPDREAM_ENDPOINT says where it is.
"""


class Flag(argparse.Action):
    """A flag made from a row of PARAMS: what is not given is left to the daemon's defaults."""

    def __init__(self, option_strings: Sequence[str], dest: str, param: Param, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, **kwargs)
        self._param = param

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        try:
            namespace.params[self._param.name] = self._param.parse(values)
        except DreamError as error:
            parser.error(error.message)


def add_params(parser: argparse.ArgumentParser, kind: str) -> None:
    """Adds a flag for every parameter of a kind of job; what is given comes as `params`."""
    parser.set_defaults(params={})
    for advanced, title in ((False, "the dream"), (True, "the dream, in detail")):
        group = parser.add_argument_group(title)
        for name in JOBS[kind].params:
            row = PARAMS[name]
            if row.advanced is advanced:
                default = f" (default: {row.default})" if row.default != "" else ""
                help_text = f"{row.help} {row.range.capitalize()}{default}.".replace("%", "%%")
                group.add_argument(
                    row.flag, action=Flag, param=row, dest=name, metavar=_metavar(row), help=help_text
                )


def _metavar(row: Param) -> str:
    return {"int": "N", "float": "X", "choice": "WORD", "network": "NAME", "layers": "LAYERS", "channels": "LIST"}[
        row.kind
    ]


@dataclass(frozen=True)
class Context:
    """What every command gets: its arguments, and how to talk."""

    arguments: argparse.Namespace

    @property
    def json(self) -> bool:
        return bool(self.arguments.json)

    def client(self, *, start: bool = True) -> Client:
        """A connection to the daemon, which is started, and said to be, if there is none."""
        return Client(
            self.arguments.endpoint,
            start=start,
            starting=lambda: self.say("Starting the daemon..."),
            name="deepdream",
        )

    def say(self, text: str) -> None:
        """Tells the user something that is not the command's result."""
        print(text, file=sys.stderr, flush=True)

    def print(self, value: Any, text: str) -> None:
        """The command's result: `value` for programs, `text` for people."""
        print(json.dumps(value, indent=2) if self.json else text)


Command = Callable[[Context], int]


def serve(context: Context) -> int:
    """Run the daemon here, until it is stopped."""
    from .serving import serve as run  # noqa: PLC0415 - the daemon's imports are not the clients'

    return run(context.arguments)


def status(context: Context) -> int:
    """Show how the daemon is; this alone does not start it."""
    with context.client(start=False) as client:
        found = client.status()
    lines = [
        f"Deep Dream {found['version']}, process {found['pid']}, up for {_duration(found['uptime_seconds'])}",
        f"endpoint   {found['endpoint']}",
        *(f"worker     {_worker(worker)}" for worker in found["workers"]),
        *(
            f"job        {job['job'][:8]} {job['kind']}, {job['state']}, {job['fraction']:.0%},"
            f" for {job['client'] or 'nobody'}"
            for job in found["jobs"]
        ),
        "so far     " + (", ".join(f"{count} {what}" for what, count in found["counts"].items()) or "no jobs"),
        *([f"last error {found['last_error']}"] if found["last_error"] else []),
        f"log        {found['log']}",
    ]
    context.print(found, "\n".join(lines))
    return OK


def _worker(worker: dict[str, Any]) -> str:
    if not worker["running"]:
        return f"{worker['device']}, asleep; the next job wakes it"
    if "torch" not in worker:
        return f"{worker['device']}, starting"
    names = [f"{each['name']} ({each['precision']})" for each in worker["networks"]]
    loaded = ", ".join(names) or "no network loaded"
    return (
        f"{worker['device']} ({worker['device_name']}), process {worker['pid']}, torch {worker['torch']}, {loaded}"
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def stop(context: Context) -> int:
    """End the daemon."""
    try:
        with context.client(start=False) as client:
            client.shutdown()
            client.wait_until_gone()
    except UnreachableError:
        context.print({"running": False}, "No daemon was running.")
    else:
        context.print({"running": False}, "The daemon has ended.")
    return OK


def doctor(context: Context) -> int:
    """Check the installation, and say how to mend what is wrong."""
    from .doctor import examine  # noqa: PLC0415 - looks at much that nobody else needs

    checks = examine(context.arguments.endpoint)
    text = "\n".join(
        f"{'ok  ' if check.ok else 'BAD '} {check.name:<12} {check.found}"
        + (f"\n     {check.cure}" if check.cure else "")
        for check in checks
    )
    context.print([vars(check) for check in checks], text)
    return OK if all(check.ok for check in checks) else FAILED


def networks(context: Context) -> int:
    """List the networks, which of them are here, and which are loaded."""
    with context.client() as client:
        found = client.networks()
    lines = [
        f"{row['name']:<20} {_where(row):<9} {row['megabytes']:>6.0f} MB  {row['default_layer']:<14} {row['help']}"
        for row in found
    ]
    context.print(found, "\n".join([f"{'name':<20} {'':<9} {'size':>9}  {'default layer':<14}", *lines]))
    return OK


def _where(row: dict[str, Any]) -> str:
    return "loaded" if row["loaded"] else "here" if row["here"] else "to pull"


def layers(context: Context) -> int:
    """List a network's layers: what each sees of the picture, and how many channels it has."""
    row = find_network(context.arguments.network)
    value = [vars(layer) | {"name": name, "field": layer.field} for name, layer in row.layers.items()]
    lines = [
        f"{name:<16} {layer.field:>5} px {layer.stride:>4} px {layer.channels:>6}"
        + ("  the default" if name == row.default_layer else "")
        + ("  and something of everything" if layer.whole else "")
        for name, layer in row.layers.items()
    ]
    context.print(value, "\n".join([f"{'layer':<16} {'sees':>8} {'every':>7} {'channels':>6}", *lines]))
    return OK


def pull(context: Context) -> int:
    """Fetch a network's weights, or take them from a file."""
    from .terminal import Bar  # noqa: PLC0415 - numbers that only few commands show

    row = find_network(context.arguments.network)
    if context.arguments.weights:
        from .weights import adopt  # noqa: PLC0415 - hashes, which other commands do not need

        path = adopt(row, Path(context.arguments.weights))
        context.print({"network": row.name, "path": str(path)}, f"{row.label} is ready: {path}")
        return OK
    with context.client() as client, Bar(row.label) as bar:
        for event in client.pull(row.name):
            if event.total:
                bar.show(event.bytes / event.total, f"{event.bytes / 1e6:.0f} of {event.total / 1e6:.0f} MB")
    context.print({"network": row.name}, f"{row.label} is ready.")
    return OK


def params(context: Context) -> int:
    """Show the parameters of a kind of job: defaults, ranges, meanings."""
    kind = context.arguments.kind
    if context.arguments.markdown:
        print(markdown(kind), end="")
        return OK
    rows = [PARAMS[name] for name in JOBS[kind].params]
    value = [vars(row) | {"range": row.range} for row in rows]
    for each in value:
        each.update({key: None for key in ("minimum", "maximum") if abs(each[key]) == float("inf")})
    assert defaults(kind)  # noqa: S101
    text = "\n".join(f"{row.name:<14} {row.default!s:<20} {row.range}\n{'':<14} {row.help}" for row in rows)
    context.print(value, text)
    return OK


def dream(context: Context) -> int:
    """Dream a picture, or the region of a mask."""
    from .dreaming import run  # noqa: PLC0415 - numpy and image files

    return run(context)


def parser() -> argparse.ArgumentParser:
    """The command's grammar."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--endpoint", default=argparse.SUPPRESS, metavar="E", help="where the daemon is")
    shared.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="write the result as JSON")
    top = argparse.ArgumentParser(
        prog="deepdream",
        description="Deep dreams of pictures, by a daemon that holds the network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
    )
    top.set_defaults(endpoint=None, json=False)
    top.add_argument("--version", action="version", version=f"deepdream {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(command: Command) -> argparse.ArgumentParser:
        help_text = (command.__doc__ or "").strip()
        sub = commands.add_parser(command.__name__, help=help_text, description=help_text, parents=[shared])
        sub.set_defaults(command=command)
        return sub

    dreaming = add(dream)
    dreaming.add_argument("image", metavar="IN", help="the picture: PNG, JPEG, TIFF or WebP, 8 or 16 bit")
    dreaming.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="where to write; its suffix says how"
    )
    dreaming.add_argument(
        "-m",
        "--mask",
        metavar="M",
        help="the region: a picture of the same size, white inside, or `alpha` for IN's own",
    )
    dreaming.add_argument("--preview-dir", metavar="D", help="write the pictures on the way into this folder, too")
    add_params(dreaming, "dream")
    names = ", ".join(NETWORKS)
    add(networks)
    add(layers).add_argument("network", help=f"one of {names}")
    pulling = add(pull)
    pulling.add_argument("network", help=f"one of {names}")
    pulling.add_argument("--weights", metavar="FILE", help="take this file, or the one in this folder, instead")
    showing = add(params)
    showing.add_argument("kind", nargs="?", default="dream", choices=list(JOBS), help="which kind of job")
    showing.add_argument("--markdown", action="store_true", help="as a table for the docs")
    serving = add(serve)
    add_options(serving)
    add(status)
    add(stop)
    add(doctor)
    return top


def add_options(serving: argparse.ArgumentParser) -> None:
    """The flags of `serve`; what is not given is left to `Options`."""
    serving.add_argument(
        "--device", default=argparse.SUPPRESS, help="auto, cpu, cuda, mps, or several: cuda:0,cuda:1"
    )
    serving.add_argument(
        "--memory", type=int, default=argparse.SUPPRESS, metavar="MIB", help="of networks kept loaded"
    )
    serving.add_argument(
        "--idle",
        type=float,
        default=argparse.SUPPRESS,
        metavar="S",
        help="seconds without a job until memory is freed",
    )
    serving.add_argument(
        "--preload", default=argparse.SUPPRESS, metavar="NAME", help="the network to load at the start"
    )
    serving.add_argument(
        "--megapixels", type=int, default=argparse.SUPPRESS, metavar="N", help="largest picture taken"
    )
    serving.add_argument(
        "--queue", type=int, default=argparse.SUPPRESS, metavar="N", help="most jobs that may wait"
    )
    serving.add_argument("--log", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="where the log goes")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; its exit code."""
    arguments = parser().parse_args(argv)
    context = Context(arguments)
    try:
        return int(arguments.command(context))
    except DreamError as error:
        return _fail(context, error.code, error.message, FAILED)
    except (UnreachableError, ConnectionError, TimeoutError) as error:
        message = (
            str(error) if isinstance(error, UnreachableError) else f"The daemon went away: {error}. Try again."
        )
        return _fail(context, "unreachable", message, UNREACHABLE)
    except JobCancelledError:
        return _fail(context, "cancelled", "Cancelled; nothing was written.", INTERRUPTED)
    except KeyboardInterrupt:
        return _fail(context, "interrupted", "Interrupted.", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has had enough
        return OK


def _fail(context: Context, code: str, message: str, status: int) -> int:
    if context.json:
        print(json.dumps({"error": {"code": code, "message": message}}))
    print(f"deepdream: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
