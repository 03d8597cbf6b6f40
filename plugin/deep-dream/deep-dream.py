#!/usr/bin/env python3
"""Filters > Deep Dream: GIMP's plug-in. Here its procedures are registered; `runs.py` has what they do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp, GLib, GObject

try:
    import msgpack  # noqa: F401
except ImportError:
    # GIMP's Python has none on most systems: the installer put msgpack's pure Python beside this file, or beside
    # the link to it, which must not be followed here.
    sys.path.append(str(Path(__file__).absolute().parent / "carried"))

from dreamwire.networks import NETWORKS
from dreamwire.params import GUIDE, Job, Param, find_job
from dreamwire.presets import PRESETS
from settings import MASKS, argument, shown

BINARY = "plug-in-deep-dream"
MENU = "<Image>/Filters/Deep Dream"
#: What the dialog's buttons and our own widgets leave for the mnemonics of parameters.
LETTERS = "bdefghijnqtuvwxyz"
READWRITE = GObject.ParamFlags.READWRITE


@dataclass(frozen=True)
class Entry:
    """One entry of the menu, and one procedure of that name: `action` of `runs` if it takes layers, else `window`.

    An entry that `asks` has the parameters of its kind of job as its arguments.
    """

    name: str
    label: str
    help: str
    action: str = ""
    window: str = ""
    asks: bool = False
    kind: str = "dream"


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            BINARY, "_Dream...",
            "Lets a convnet enhance what it sees in the selection, in a new layer.", "make", asks=True,
        ),
        Entry(f"{BINARY}-again", "Dream _Again", "Dreams with the settings last used, without a dialog.", "again"),
        Entry(
            f"{BINARY}-deeper", "Dream D_eeper",
            "Dreams once more on a dreamt layer, with the settings it carries.", "deeper",
        ),
        Entry(
            f"{BINARY}-redream", "_Re-dream...",
            "Dreams the source of a dreamt layer again, in the same region, with changed settings.", "redream",
            asks=True,
        ),
        Entry(
            f"{BINARY}-networks", "_Networks...",
            "Shows the networks that can dream, fetches them, and frees their memory.", window="NetworksWindow",
        ),
        Entry(
            f"{BINARY}-about", "A_bout and Diagnostics...",
            "Tells the version and the daemon's state, to be copied into a question.", window="AboutWindow",
        ),
    )
}  # fmt: skip


class DeepDream(Gimp.PlugIn):  # type: ignore[misc]
    """The plug-in, as GIMP asks for it."""

    def do_query_procedures(self) -> list[str]:
        return list(ENTRIES)

    def do_set_i18n(self, name: str) -> bool:
        return False

    def do_create_procedure(self, name: str) -> Gimp.Procedure:
        entry = ENTRIES[name]
        kind = Gimp.PDBProcType.PLUGIN
        if entry.action:
            procedure = Gimp.ImageProcedure.new(self, name, kind, run_action, entry)
            # Images with a palette too: there a message can say what to do, a gray entry could not.
            procedure.set_image_types("*")
            one, several = Gimp.ProcedureSensitivityMask.DRAWABLE, Gimp.ProcedureSensitivityMask.DRAWABLES
            procedure.set_sensitivity_mask(one | several)
            if entry.asks:
                add_arguments(procedure, find_job(entry.kind))
            procedure.add_layer_return_value(
                "layer",
                "New layer",
                "The dreamt layer; if several layers were given, that of the first.",
                False,
                READWRITE,
            )
        else:
            procedure = Gimp.Procedure.new(self, name, kind, run_window, entry)
            # What GIMP asks of every entry in an image's menu.
            procedure.add_enum_argument(
                "run-mode", "Run mode", "The run mode", Gimp.RunMode, Gimp.RunMode.INTERACTIVE, READWRITE
            )
            procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.ALWAYS)
        procedure.set_menu_label(entry.label)
        procedure.add_menu_path(MENU)
        procedure.set_documentation(entry.help, entry.help, None)
        procedure.set_attribution("The authors of Deep Dream for GIMP", "Apache-2.0", "2026")
        return procedure


def add_arguments(procedure: Gimp.Procedure, job: Job) -> None:
    """The arguments of a job: the preset to start from, its parameters, its guide, and how the mask is kept."""
    names = [each.name for each in PRESETS.values() if each.kind == job.kind]
    if names:
        procedure.add_string_argument(
            "preset", "Preset",
            f"Settings to begin with: {', '.join(names)}, or one of your own. Arguments that are not at their"
            " defaults replace them. Empty: the arguments alone.", "", READWRITE,
        )  # fmt: skip
    free = LETTERS
    for name in shown(job.kind):
        label, free = mnemonic(job.params[name].label, free)
        add_argument(procedure, job.params[name], label)
    if GUIDE in job.inputs:
        procedure.add_drawable_argument(
            "guide", "Guide", "A layer, of any open image, which the dream becomes like.", True, READWRITE
        )
    masks = {name: (text, "") for name, text in MASKS.items()}
    procedure.add_choice_argument(
        "mask-as", "_Keep the selection", "How the new layer keeps the selection's edge.", choice(masks),
        next(iter(MASKS)), READWRITE,
    )  # fmt: skip


def mnemonic(label: str, free: str) -> tuple[str, str]:
    """A label with the first of its letters that is free underlined, if one is, and the letters that are left."""
    for index, letter in enumerate(label):
        if letter.lower() in free:
            return f"{label[:index]}_{label[index:]}", free.replace(letter.lower(), "")
    return label, free


def add_argument(procedure: Gimp.Procedure, row: Param, label: str) -> None:
    """One parameter as an argument of a procedure."""
    about = argument(row.name), label, row.help
    if row.kind == "int":
        procedure.add_int_argument(*about, int(row.minimum), int(row.maximum), row.default, READWRITE)
    elif row.kind == "float":
        procedure.add_double_argument(*about, row.minimum, row.maximum, row.default, READWRITE)
    elif row.kind == "network":
        networks = {name: (network.label, network.help) for name, network in NETWORKS.items()}
        procedure.add_choice_argument(*about, choice(networks), row.default, READWRITE)
    elif row.choices is not None:
        choices = {name: (name.capitalize(), text) for name, text in row.choices.items()}
        procedure.add_choice_argument(*about, choice(choices), row.default, READWRITE)
    else:
        procedure.add_string_argument(*about, row.default, READWRITE)


def choice(rows: dict[str, tuple[str, str]]) -> Gimp.Choice:
    """Words to choose from, each with a label and help."""
    made = Gimp.Choice.new()
    for number, (name, (label, help_text)) in enumerate(rows.items()):
        made.add(name, number, label, help_text)
    return made


def run_action(
    procedure: Gimp.Procedure,
    mode: Gimp.RunMode,
    image: Gimp.Image,
    drawables: Sequence[Gimp.Drawable],
    config: Gimp.ProcedureConfig,
    entry: Entry,
) -> Gimp.ValueArray:
    """Runs an entry that takes layers; what goes wrong is told by a window if somebody looks on, else returned."""
    import runs

    call = runs.Call(entry.kind, procedure, mode, image, drawables, config)
    try:
        layers = getattr(runs, entry.action)(call)
    except runs.CancelledError:
        return procedure.new_return_values(Gimp.PDBStatusType.CANCEL, None)
    except Exception as error:
        return failed(procedure, error, mode)
    values = procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, None)
    values.remove(1)
    values.insert(1, GObject.Value(Gimp.Layer, layers[0]))
    return values


def run_window(procedure: Gimp.Procedure, config: Gimp.ProcedureConfig, entry: Entry) -> Gimp.ValueArray:
    """Runs an entry that only opens a window."""
    import windows

    try:
        getattr(windows, entry.window)().run()
    except Exception as error:
        return failed(procedure, error, Gimp.RunMode.INTERACTIVE)
    return procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, None)


def failed(procedure: Gimp.Procedure, error: Exception, mode: Gimp.RunMode) -> Gimp.ValueArray:
    """The end of a call that went wrong."""
    if not isinstance(error, expected()):
        import traceback

        traceback.print_exc()
        error = RuntimeError(f"A fault of Deep Dream itself: {type(error).__name__}: {error}")
    if mode == Gimp.RunMode.NONINTERACTIVE:
        from session import advice

        problem = GLib.Error.new_literal(Gimp.PlugIn.error_quark(), advice(error), 0)
        return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, problem)
    from windows import problem as tell

    tell(error)
    # It has been told; GIMP would tell it once more.
    return procedure.new_return_values(Gimp.PDBStatusType.CANCEL, None)


def expected() -> tuple[type[Exception], ...]:
    """What can go wrong without a fault of ours; the messages are made for the user."""
    from canvas import RefusalError
    from dreamwire.errors import DreamError, UnreachableError
    from session import DaemonLostError

    return RefusalError, DreamError, UnreachableError, DaemonLostError


Gimp.main(DeepDream.__gtype__, sys.argv)
