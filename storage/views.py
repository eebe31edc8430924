"""The array page, for administrators; for everybody else it does not exist.

Every change is a form of its own that ends with 303 and a message. What is refused is
the page again, with the reason beside the field.
"""

from collections.abc import Callable
from typing import Any

from flask import (
    Blueprint,
    Flask,
    abort,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_login import current_user
from werkzeug.wrappers import Response

from raid.errors import RaidError
from storage import (
    activity,
    forms,
    logs,
    membership,
    outlook,
    queries,
    reshaping,
    trial,
)
from storage.db import release
from storage.errors import StorageError
from storage.jobs import table
from storage.models import JobKind
from storage.runtime import runtime

blueprint = Blueprint("array", __name__, url_prefix="/array")
_LARGEST_ID = 2**63 - 1

Answer = Response | str | tuple[str, int]


@blueprint.before_request
def administrators_only() -> None:
    """Hide everything here from everybody else."""
    if not getattr(current_user, "is_admin", False):
        abort(404)


@blueprint.get("/")
def index() -> str:
    """Show the state of the array and of its members."""
    return _page()


def _page(bound: dict[str, forms.ArrayForm] | None = None) -> str:
    known = {verb: forms.of(verb) for verb in forms.FORMS}
    status = queries.status()
    if status is not None and status.upkeep is not None:
        known["pace"].percent.data = status.upkeep.pace
    return render_template(
        "array/index.html",
        status=status,
        page=activity.events(),
        forms=known | (bound or {}),
    )


@blueprint.get("/live")
def live() -> str:
    """Show the parts of the page that change by themselves; scripts fetch this."""
    status = queries.status()
    if status is None:
        abort(404)
    return render_template("array/_live.html", status=status, page=activity.events())


@blueprint.get("/events")
def events() -> str:
    """Show what happened, older than the event in `before`."""
    before = request.args.get("before", type=int)
    if before is not None and not 0 < before <= _LARGEST_ID:
        before = None
    return render_template("array/events.html", page=activity.events(before))


@blueprint.get("/jobs/<int:number>")
def job(number: int) -> str:
    """Show what came of a job, and the files that it could not help."""
    start = request.args.get("start", 0, type=int)
    found = None
    if number <= _LARGEST_ID:
        found = activity.report(number, min(max(start, 0), _LARGEST_ID))
    if found is None:
        abort(404)
    return render_template("array/job.html", report=found)


_BY_HAND = {
    "pause": (table.pause, "is paused and goes on when you resume it"),
    "resume": (table.resume, "goes on"),
    "cancel": (table.cancel, "was cancelled; what it did so far stays"),
}


@blueprint.post("/jobs/<int:number>/<any(pause, resume, cancel):verb>")
def change_job(number: int, verb: str) -> Answer:
    """Pause a job, let it go on, or end it."""
    found = activity.job_line(number) if number <= _LARGEST_ID else None
    if found is None:
        abort(404)
    change, said = _BY_HAND[verb]
    if change(number, actor=_actor()):
        flash(f"{found.title} {said}.", "success")
    else:
        flash(f"{found.title} is {found.state}, so nothing was changed.", "warning")
    return _back()


@blueprint.post("/scrub")
def scrub() -> Answer:
    """Ask for a look at every object."""
    return _ask(JobKind.SCRUB)


@blueprint.post("/drill")
def drill() -> Answer:
    """Ask for a proof that files can be recovered."""
    return _ask(JobKind.DRILL)


@blueprint.post("/sweep")
def sweep() -> Answer:
    """Ask for a search for objects that no file needs."""
    return _ask(JobKind.SWEEP)


def _ask(kind: JobKind) -> Answer:
    number = table.request(kind, actor=_actor())
    line = activity.job_line(number)
    assert line is not None
    flash(f"{line.title} is {line.state}. {line.meaning}", "success")
    return _back()


def _form(change: Callable[[Any], str]) -> Callable[[Any], str]:
    """Let the form of this name do what the function does, and say what it returns."""
    verb = change.__name__
    blueprint.add_url_rule(
        f"/{verb}", verb, lambda: _do(verb, change), methods=["POST"]
    )
    return change


def _do(verb: str, change: Callable[[Any], str]) -> Answer:
    """Let a service do what a form asks for, or show the page with the reason."""
    form = forms.of(verb, request.form)
    if not form.validate():
        return _refused(verb, form)
    try:
        said = change(form)
    except (StorageError, RaidError, ValueError) as error:
        return _refused(verb, form, error)
    flash(said, "success")
    return _back()


def _refused(
    verb: str, form: forms.ArrayForm, error: Exception | None = None
) -> tuple[str, int]:
    """Show the page with the form as it was sent, and why nothing was done."""
    if error is not None:
        form.blame(error)
    form.forget_secrets()
    return _page({verb: form}), int(getattr(error, "status", 400))


@blueprint.post("/probe")
def probe() -> Answer:
    """Try a place, and show what was found; nothing is formatted or changed."""
    form = forms.of("probe", request.form)
    if not form.validate():
        return _refused("probe", form)
    url = str(form.url.data).strip()
    release()
    try:
        found = trial.of(url, current_app.config["HOLDFAST"].data_dir)
    except (StorageError, ValueError) as error:
        return _refused("probe", form, error)
    logs.note(member=found.label, failed=len(found.failed))
    return render_template("array/probe.html", url=url, trial=found)


@_form
def fail(form: forms.FailForm) -> str:
    """Take a member out of use."""
    membership.fail(form.slot, actor=_actor(), force=form.force.data)
    return f"{form.name} is faulty and is not used any more."


@_form
def readd(form: forms.MemberForm) -> str:
    """Take a faulty member back."""
    membership.readd(form.slot, actor=_actor())
    return f"{form.name} is taken back and gets what it missed."


@_form
def replace(form: forms.ReplaceForm) -> str:
    """Give a slot to a new member."""
    url, force = str(form.url.data).strip(), form.force.data
    membership.replace(form.slot, url, actor=_actor(), force=force)
    return f"{form.name} is being replaced."


@_form
def retire(form: forms.MemberForm) -> str:
    """End a member for ever."""
    slot = form.row.slot
    which = str(form.row.uuid) if slot is None else slot
    membership.retire(which, actor=_actor())
    return f"{form.name} is retired."


@_form
def spare(form: forms.SpareForm) -> str:
    """Format a spare."""
    membership.add_spare(str(form.url.data).strip(), actor=_actor())
    return "The spare is ready. It takes over when a member stays away."


_FOLLOWS = "New files have the new shape now, and the reshape writes the old ones anew."


@_form
def widen(form: forms.SpareForm) -> str:
    """Add a member in a slot of its own."""
    reshaping.widen([str(form.url.data).strip()], actor=_actor())
    return f"The array has one member more. {_FOLLOWS}"


@_form
def narrow(form: forms.MemberForm) -> str:
    """Empty a slot and let its member go."""
    reshaping.narrow(form.slot, actor=_actor())
    return f"{form.name} is being emptied. {_FOLLOWS}"


@_form
def convert(form: forms.ConvertForm) -> str:
    """Change the level."""
    reshaping.convert(str(form.level.data), actor=_actor())
    return f"The array has another level. {_FOLLOWS}"


@blueprint.post("/readonly")
def readonly() -> Answer:
    """Let nothing be written any more, or again."""
    state = request.form.get("state")
    if state not in ("on", "off"):
        flash("Say whether it should be on or off. Nothing was changed.", "warning")
        return _back()
    try:
        membership.set_readonly(state == "on", actor=_actor())
    except StorageError as error:
        flash(str(error), "danger")
        return _back()
    said = "The array is read-only." if state == "on" else "It takes writes again."
    flash(said, "success")
    return _back()


@blueprint.post("/rebuild")
def rebuild() -> Answer:
    """Give members that lack something what they should hold."""
    try:
        begun = membership.rebuild(actor=_actor())
    except (StorageError, RaidError) as error:
        flash(str(error), "danger")
        return _back()
    said = "Jobs give members what they lack." if begun else "No member needs it."
    flash(said, "success")
    return _back()


@_form
def pace(form: forms.PaceForm) -> str:
    """Choose how much of the time jobs may work."""
    table.set_pace(form.percent.data)
    return f"Jobs work {form.percent.data} % of the time now."


def _actor() -> str:
    return str(current_user.name)


def _back() -> Response:
    own = runtime()
    own.forget_map()
    outlook.forget(own)
    return redirect(url_for("array.index"), 303)


def init_app(app: Flask) -> None:
    """Add the page."""
    app.register_blueprint(blueprint)
