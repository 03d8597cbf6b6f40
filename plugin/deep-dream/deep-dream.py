#!/usr/bin/env python3
"""Filters > Deep Dream: GIMP's plug-in. Here its procedures are registered; `runs.py` has what they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
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

from dreamwire.params import FRAMES, GUIDE, JOBS, Job, Param, find_job
from dreamwire.presets import PRESETS
from settings import MASKS, argument, is_sequence, keeps_mask, shown

BINARY = "plug-in-deep-dream"
MENU = "<Image>/Filters/Deep Dream"
#: What the dialog's buttons and our own widgets leave for the mnemonics of parameters.
LETTERS = "bdefghijnqtuvwxyz"
#: What the entries below leave in the menu for those of JOBS.
MENU_LETTERS = "cfghijklmopqstuvwxyz"
READWRITE = GObject.ParamFlags.READWRITE


@dataclass(frozen=True)
class Entry:
    """One entry of the menu, and one procedure of that name: `action` of `runs` if it takes layers, else `window`.

    An entry that `asks` has the parameters of its kind of job as its arguments. Beside the entries below there is
    one for every other kind of job; what is not simply made, has an action of its own.
    """

    name: str
    label: str
    help: str
    action: str = ""
    window: str = ""
    asks: bool = False
    kind: str = "dream"


#: What entries do with kinds of job whose result is no layer beside that which it comes from.
ACTIONS = {"classify": "look"}


def entries_of_jobs() -> Iterator[Entry]:
    """An entry for every kind of job but dreams, which have several."""
    free = MENU_LETTERS
    for job in JOBS.values():
        if job.kind != "dream":
            label, free = mnemonic(job.label, free)
            action = ACTIONS.get(job.kind, "make")
            yield Entry(f"{BINARY}-{job.kind}", f"{label}...", job.help, action, asks=True, kind=job.kind)


def mnemonic(label: str, free: str) -> tuple[str, str]:
    """A label with the first of its letters that is free underlined, if one is, and the letters that are left."""
    for index, letter in enumerate(label):
        if letter.lower() in free:
            return f"{label[:index]}_{label[index:]}", free.replace(letter.lower(), "")
    return label, free


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
        *entries_of_jobs(),
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
            if find_job(entry.kind).gives != "report":
                procedure.add_layer_return_value(
                    "layer", "New layer",
                    "The new layer; if several layers were given, that of the first.", False, READWRITE,
                )  # fmt: skip
            procedure.add_string_return_value(
                "report", "Report",
                "What was done and what was reached by it, as JSON; if several layers were given, of the first.",
                "", READWRITE,
            )  # fmt: skip
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
    if is_sequence(job.kind):
        add_argument(procedure, FRAMES, FRAMES.label)
    if keeps_mask(job.kind):
        masks = {name: (text, "") for name, text in MASKS.items()}
        procedure.add_choice_argument(
            "mask-as", "_Keep the selection", "How the new layer keeps the selection's edge.", choice(masks),
            next(iter(MASKS)), READWRITE,
        )  # fmt: skip


def add_argument(procedure: Gimp.Procedure, row: Param, label: str) -> None:
    """One parameter as an argument of a procedure."""
    about = argument(row.name), label, row.help
    if row.kind == "int":
        procedure.add_int_argument(*about, int(row.minimum), int(row.maximum), row.default, READWRITE)
    elif row.kind == "float":
        procedure.add_double_argument(*about, row.minimum, row.maximum, row.default, READWRITE)
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
        made: runs.Made = getattr(runs, entry.action)(call)
    except runs.CancelledError:
        return procedure.new_return_values(Gimp.PDBStatusType.CANCEL, None)
    except Exception as error:
        return failed(procedure, error, mode)
    values = procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, None)
    results = [GObject.Value(Gimp.Layer, layer) for layer in made.layers[:1]]
    for place, value in enumerate([*results, GObject.Value(GObject.TYPE_STRING, made.report)], start=1):
        values.remove(place)
        values.insert(place, value)
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
