"""`deepdream`: one command for the daemon and everything it does. Its grammar, its errors, its exit codes."""

from __future__ import annotations

import argparse
import difflib
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from dreamwire import __version__
from dreamwire.errors import DreamError, UnreachableError
from dreamwire.networks import NETWORKS, find_network
from dreamwire.params import CATALOGUES, FRAMES, GUIDE, JOBS, MOST_CHANNELS, PARAMS, Job, Param
from dreamwire.presets import find_preset, presets

from . import commands
from .call import FAILED, INTERRUPTED, OK, UNREACHABLE, USAGE, Call, write
from .limits import ROWS, flag_of

Number = TypeVar("Number", int, float)

_NAMES = ", ".join(NETWORKS)

EPILOG = f"""\
Commands that need the daemon start it. Where it is says --endpoint, else
DEEPDREAM_ENDPOINT, else it is a place of the user's own.

exit codes:
  {OK} done, {FAILED} refused or failed, {USAGE} wrong usage, {UNREACHABLE} no daemon, {INTERRUPTED} interrupted
"""
EPILOGS = {
    "dream": """\
The picture keeps its size, depth, alpha, colour profile and EXIF. Ctrl-C
cancels the dream and leaves no picture; a second one leaves at once.

examples:
  deepdream dream photo.jpg -o dream.png
  deepdream dream photo.jpg -o dream.png --mask sky.png --layers blocks.4
  deepdream dream photo.jpg -o dream.png --preset swirls --octaves 5
  deepdream dream photo.jpg -o dream.png --classes "tabby+lemon*0.5"
  deepdream dream photo.jpg -o dream.png --guide flowers.jpg
  deepdream dream cutout.png -o dream.png --mask alpha --preview-dir frames
""",
    "catalogue": """\
What was made before is remembered and comes at once. Ctrl-C leaves no sheet;
the same command then goes on where it was.

examples:
  deepdream catalogue photo.jpg -o sheet.png
  deepdream catalogue photo.jpg -o sheet.png --mask face.png --side 240
  deepdream catalogue photo.jpg -o sheet.png --channels-of blocks.8
  deepdream catalogue photo.jpg -o small/ --channels-of blocks.8 --channels 30-61
  deepdream catalogue photo.jpg -o sheet.png --kind invert --side 224
""",
    "zoom": """\
The first frame is the picture itself; each other one is made of the one
before, in 16 bit. Frames are kept until all are there, in OUT or in OUT.frames
beside a film: after Ctrl-C, or worse, the same command goes on after the last.

examples:
  deepdream zoom photo.jpg -o frames/
  deepdream zoom photo.jpg -o fall.gif --frames 40 --zoom 1.08
  deepdream zoom photo.jpg -o fall.mp4 --frames 400 --fps 25 --zoom 1.02
  deepdream zoom photo.jpg -o eye.webm --mask eye.png --rotation 2
""",
    "visualise": """\
`deepdream classes WORD` finds the names of classes.

examples:
  deepdream visualise --classes lemon --size 384x384 -o lemon.png
  deepdream visualise --classes "measuring cup" --thing-size 0.5 -o cups.png
  deepdream visualise --layers blocks.8 --channels 36 -o channel.png
  deepdream visualise photo.jpg -o out.png --mask sky.png --classes goldfish
""",
    "keys": """\
Let a laptop use the daemon of a studio:
  deepdream keys new                                    on both; each tells its key
  deepdream keys allow KEY --name laptop                in the studio, with the laptop's key
  deepdream serve --listen tcp://0.0.0.0:47616          in the studio
  deepdream keys allow KEY --at tcp://studio:47616      on the laptop, with the studio's key
  deepdream --endpoint tcp://studio:47616 dream photo.jpg -o out.png
  deepdream keys revoke laptop                          in the studio, when it shall not any more
""",
    "health": """\
exit codes:
  0 all parts are well, 1 one is ill, or there is no daemon
""",
    "fool": """\
`deepdream classes WORD` finds the names of classes.

examples:
  deepdream fool --classes "king penguin" -o penguin.png
  deepdream fool --classes lemon --encoding direct --size 224x224 -o lemon.png
""",
}


#: Jobs that have commands of their own.
COMMANDS = {"zoom"}


class UsageError(Exception):
    """The command line is not understood; the message says where and what to do."""


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line, and by an exception."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:].rstrip('.')}. `{self.prog} --help` says more.")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with `command` and its `parser`. Raises `UsageError`, and `DreamError` for bad values."""
    # No defaults of the parsers: a command's would undo what stands before the command.
    arguments, unknown = parser().parse_known_args(argv, argparse.Namespace(endpoint=None, json=False))
    if unknown:
        known = re.findall(r"--[\w-]+", arguments.parser.format_help())
        near = difflib.get_close_matches(unknown[0], set(known), n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise UsageError(f"`{arguments.parser.prog}` takes no {unknown[0]!r}{hint}")
    return arguments


def parser() -> argparse.ArgumentParser:
    """The command's grammar."""
    shared = Parser(add_help=False)
    shared.add_argument(
        "--endpoint", default=argparse.SUPPRESS, metavar="E", help="the daemon: ipc:///PATH or tcp://HOST:PORT"
    )
    shared.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="answer in JSON")
    top = Parser(
        prog="deepdream",
        description="Deep dreams of pictures, by a daemon that holds the network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
        allow_abbrev=False,
    )
    top.set_defaults(command=_help, parser=top)
    top.add_argument("--version", action="version", version=f"deepdream {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND")

    def add(
        command: Callable[[Call], int], name: str = "", about: str = "", *, usage: str = "", epilog: str = ""
    ) -> Parser:
        help_text = about or command.__doc__ or ""
        sub = subparsers.add_parser(
            name or command.__name__,
            help=help_text,
            description=help_text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[shared],
            allow_abbrev=False,
        )
        if usage:
            sub.usage = f"{sub.prog} {usage}"
        sub.set_defaults(command=command, parser=sub)
        return sub

    for job in JOBS.values():
        if job.kind in COMMANDS:
            continue
        source = "IN" if job.needs_picture else "[IN]"
        usage = f"{source} {'' if job.gives == 'report' else '-o OUT '}[--mask M] [more of the below]"
        run = partial(commands.picture, job.kind)
        add_job(add(run, job.kind, job.help, usage=usage, epilog=EPILOGS.get(job.kind, "")), job)
    usage = "IN -o OUT [--channels-of LAYER] [more of the below]"
    add_catalogue(add(commands.catalogue, usage=usage, epilog=EPILOGS["catalogue"]))
    usage = "IN -o OUT [--frames N] [--mask M] [more of the below]"
    add_zoom(add(commands.zoom, usage=usage, epilog=EPILOGS["zoom"]))
    add(commands.classes).add_argument("words", nargs="*", metavar="WORD", help="parts of a name")
    presets_ = add(commands.presets)
    presets_.add_argument("--add", metavar="LINE", help='as in "Wool = dream --layers blocks.8 --channels 36"')
    presets_.add_argument("--remove", metavar="NAME", help="one of your own")
    add(commands.networks)
    add(commands.layers).add_argument(
        "network", nargs="?", default=PARAMS["network"].default, metavar="NETWORK", help=f"one of {_NAMES}"
    )
    pull = add(commands.pull)
    pull.add_argument("network", metavar="NETWORK", help=f"one of {_NAMES}; or timm:NAME")
    pull.add_argument("--weights", metavar="FILE", help="take this file, or the one in this folder, instead")
    params = add(commands.params)
    params.add_argument("kind", nargs="?", default="dream", choices=list(JOBS), help="which kind of job")
    params.add_argument("--markdown", action="store_true", help="as a table for the docs")
    add_options(add(commands.serve))
    add(commands.status)
    add(commands.health, epilog=EPILOGS["health"]).add_argument(
        "--patience",
        type=_at_least(1.0, float),
        default=60.0,
        metavar="S",
        help="seconds without a word after which a part counts as ill (default %(default)g)",
    )
    add(commands.stop)
    keys = add(commands.keys, epilog=EPILOGS["keys"])
    keys.add_argument("what", choices=["list", "new", "allow", "revoke"], nargs="?", default="list")
    keys.add_argument("key", nargs="?", default="", metavar="KEY", help="64 characters, as `keys list` shows them")
    keys.add_argument("--name", default="", help="whose key is allowed")
    keys.add_argument("--at", type=_tcp, metavar="E", help="the daemon whose key is allowed")
    keys.add_argument("--anew", action="store_true", help="make another key than there is")
    relay = add(commands.relay)
    relay.add_argument("far", type=_tcp, metavar="E", help="the daemon's endpoint, tcp://HOST:PORT")
    relay.add_argument("--log", type=_file, default=argparse.SUPPRESS, metavar="FILE", help="where the log goes")
    add(commands.doctor).add_argument(
        "--bundle",
        type=_file,
        metavar="FILE",
        help="write what was found, settings and logs, without names of files and keys, as a zip that can be sent",
    )
    return top


def _help(call: Call) -> int:
    write(call.arguments.parser.format_help().rstrip())
    return OK


def add_pictures(
    parser: argparse.ArgumentParser, output: str = "where to write; its suffix says how", *, needed: bool = True
) -> None:
    """The arguments of a command that looks at a picture, and makes one if `output` says where it goes."""
    about = "the picture: PNG, JPEG, TIFF or WebP, 8 or 16 bit"
    if needed:
        parser.add_argument("image", metavar="IN", help=about)
    else:
        parser.add_argument("image", metavar="IN", nargs="?", help=f"{about}; without it, a gray one of --size")
        parser.add_argument(
            "--size",
            type=_size,
            metavar="WxH",
            help="width and height of a picture from nothing (default 384x384)",
        )
    if output:
        parser.add_argument("-o", "--output", required=True, metavar="OUT", help=output)
    parser.add_argument(
        "-m",
        "--mask",
        metavar="M",
        help="the region: a picture of the same size, white inside, or `alpha` for IN's own",
    )


def add_job(parser: argparse.ArgumentParser, job: Job) -> None:
    """The arguments of a job that looks at a picture, most of them from JOBS."""
    output = "" if job.gives == "report" else "where to write; its suffix says how"
    add_pictures(parser, output, needed=job.needs_picture)
    if GUIDE in job.inputs:
        parser.add_argument("--guide", metavar="G", help=f"{GUIDE.help}; a file")
    if job.gives != "report":
        parser.add_argument("--preview-dir", metavar="D", help="a folder for the frames on the way to the result")
    names = list(presets(job.kind))
    if names:
        parser.add_argument(
            "--preset",
            type=partial(find_preset, kind=job.kind),
            default=names[0],
            metavar="NAME",
            help=f"a look to begin with, which the flags below change: {', '.join(names)} (default %(default)s)",
        )
    add_params(parser, job.params.values())


def add_catalogue(parser: argparse.ArgumentParser) -> None:
    """The arguments of `catalogue`."""
    add_pictures(parser, "where to write: a sheet, or with / at its end a folder of pictures")
    parser.add_argument(
        "--channels-of", default="", metavar="LAYER", help="show the channels of this layer, not the layers"
    )
    parser.add_argument(
        "--channels", default="", metavar="LIST", help=f"which, as in 0-31,40 (default the first {MOST_CHANNELS})"
    )
    parser.add_argument(
        "--side", type=_between(32, 1024), default=160, metavar="PX",
        help="the longer side of each small picture (32 to 1024; default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--columns", type=_between(1, 64), default=4, metavar="N",
        help="pictures side by side on the sheet (1 to 64; default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--kind", choices=list(CATALOGUES), default="dream",
        help="what is made of the picture: `dream`, or by `invert` what each layer knows of it, with the"
        " defaults of that command (default %(default)s)",
    )  # fmt: skip
    add_params(parser, {**CATALOGUES["invert"], **CATALOGUES["dream"]}.values())


def add_zoom(parser: argparse.ArgumentParser) -> None:
    """The arguments of `zoom`."""
    add_pictures(parser, "where to write: a folder, or a .gif, .mp4 or .webm")
    parser.add_argument(
        "--fps", type=_between(1, 60), default=12, metavar="N",
        help="how many a film shows in a second (1 to 60; default %(default)s)",
    )  # fmt: skip
    add_params(parser, [FRAMES, *JOBS["zoom"].params.values()])


def add_params(parser: argparse.ArgumentParser, rows: Iterable[Param]) -> None:
    """A flag for each parameter."""
    groups = {
        False: parser.add_argument_group("parameters"),
        True: parser.add_argument_group("parameters, in detail"),
    }
    for row in rows:
        groups[row.advanced].add_argument(
            row.flag,
            dest=row.name,
            type=row.parse,
            default=argparse.SUPPRESS,
            metavar=_metavar(row),
            help=_explain(row).replace("%", "%%"),
        )


def _metavar(row: Param) -> str:
    if row.choices is not None:
        return f"{{{','.join(row.choices)}}}"
    return {"int": "N", "float": "X", "network": "NAME", "channels": "LIST"}.get(row.kind, row.kind.upper())


def _explain(row: Param) -> str:
    """What a parameter means, may be, and is by default."""
    choices = "; ".join(f"`{choice}`: {text}" for choice, text in (row.choices or {}).items())
    facts = [row.range] * (row.kind in ("int", "float")) + [f"default {row.default}"] * (row.default != "")
    return " ".join([row.help, *([f"{choices}."] * bool(choices)), *([f"({'; '.join(facts)})"] * bool(facts))])


def add_options(serve: argparse.ArgumentParser) -> None:
    """The flags of `serve`; what is not given is left to `Options`."""
    for flag, kind, metavar, help_text in (
        ("--device", _devices, "D", "auto, cpu, cuda, mps, or several: cuda:0,cuda:1"),
        ("--memory", _at_least(1, int), "MIB", "of networks kept loaded"),
        ("--idle", _at_least(0.0, float), "S", "seconds without a job until memory is freed"),
        ("--preload", _preload, "NAME", "the network to load at the start, or '' for none"),
        ("--listen", _tcp, "E", "be open to other computers too, as tcp://0.0.0.0:47616: `deepdream keys`"),
        ("--log", _file, "FILE", "where the log goes"),
    ):
        serve.add_argument(flag, type=kind, default=argparse.SUPPRESS, metavar=metavar, help=help_text)
    limits = serve.add_argument_group("limits")
    for name, row in ROWS.items():
        about = f"most {row.metadata['what']} (default {row.default})"
        limits.add_argument(
            flag_of(name), type=_at_least(1, int), default=argparse.SUPPRESS, metavar="N", help=about
        )


def _at_least(minimum: Number, kind: Callable[[str], Number]) -> Callable[[str], Number]:
    """A number that is no less than that, and none that is not a number."""

    def check(text: str) -> Number:
        value = kind(text)
        if not value >= minimum:
            raise argparse.ArgumentTypeError(f"{text} is less than {minimum}")
        return value

    check.__name__ = "number"  # for argparse's messages
    return check


def _between(least: int, most: int) -> Callable[[str], int]:
    """A whole number in a range."""

    def check(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return int(text)

    check.__name__ = "whole number"  # for argparse's messages
    return check


def _size(text: str) -> tuple[int, int]:
    """Width and height as in 640x480, as height and width."""
    found = re.fullmatch(r"([1-9]\d{0,5})[x×]([1-9]\d{0,5})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no width and height in pixels such as 640x480")
    return int(found[2]), int(found[1])


def _file(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _tcp(text: str) -> str:
    from dreamwire.transport import parse_endpoint  # noqa: PLC0415 - zmq, which most commands do without

    if not isinstance(parse_endpoint(text), tuple):
        raise argparse.ArgumentTypeError(f"{text!r} is not of this form: tcp://HOST:PORT")
    return text


def _devices(text: str) -> str:
    if not all(re.fullmatch(r"(auto|cpu|cuda|mps|xpu)(:\d+)?", device) for device in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, cpu, cuda, mps, or several such as cuda:0,cuda:1")
    return text


def _preload(name: str) -> str:
    return find_network(name).name if name else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every name of a file can be printed
    try:
        arguments = parse(argv)
        return int(arguments.command(Call(arguments)))
    except (Exception, KeyboardInterrupt) as error:
        status, code, message = explain(error)
    message = " ".join(message.splitlines())
    if "--json" in argv:
        write(json.dumps({"error": {"code": code, "message": message}}, indent=2))
    print(f"deepdream: {message}", file=sys.stderr)
    return status


def explain(error: BaseException) -> tuple[int, str, str]:
    """Exit code, error code and message of whatever has ended a command."""
    if isinstance(error, UsageError):
        return USAGE, "usage", str(error)
    if isinstance(error, DreamError):
        return USAGE if error.code == "bad_params" else FAILED, error.code, error.message
    if isinstance(error, UnreachableError):
        return UNREACHABLE, "unreachable", str(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted", str(error) or "Interrupted."
    if isinstance(error, (ConnectionError, TimeoutError)):
        message = f"The connection to the daemon broke: {_clause(error)}. Try again; `deepdream doctor` says more."
        return UNREACHABLE, "unreachable", message
    if isinstance(error, MemoryError):
        message = "There is not enough memory for this. Use a smaller picture, or close other programs."
        return FAILED, "out_of_memory", message
    if isinstance(error, OSError):
        what = f"{error.filename}: {_clause(error.strerror)}" if error.filename else _clause(error)
        return FAILED, "system", f"{what}. `deepdream doctor` may know why."
    import traceback  # noqa: PLC0415 - here alone

    traceback.print_exception(error)
    message = f"This is a fault of deepdream itself; please report it with the lines above. {error!r}"
    return FAILED, "internal", message


def _clause(reason: object) -> str:
    """What an error says as a part of a sentence, without a full stop of its own."""
    return str(reason).rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
