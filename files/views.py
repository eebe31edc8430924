"""Pages and forms: look at folders, rename, move, delete, restore, purge.

Every view is a few lines: the services decide and raise, the table in app.py answers.
Forms end with 303 and a message; scripts that accept JSON get the entries instead.
"""
# ruff: noqa: A002 - `id` is what the addresses call it

from collections.abc import Sequence
from typing import Any

from flask import (
    Blueprint,
    Flask,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_login import current_user
from werkzeug.wrappers import Response

from auth.access import public, safe_next, wants_json
from files import (
    carried,
    cli,
    naming,
    pointers,
    publishing,
    queries,
    recovered,
    services,
    transfers,
    trash,
    uploads,
)
from files.errors import BadName, BadRequest, NameTaken
from files.forms import NameForm
from files.listing import PAGE, Order
from files.models import FILE, FOLDER, Entry
from files.names import SHOWN_NAMES, short
from storage.db import db
from storage.journal.recovery import register_arranger
from storage.naming import register as register_names
from storage.queries import banner
from storage.words import filesize
from storage.worker import register_chore

KINDS = {"file": FILE, "folder": FOLDER}
ENTRY = "/<any(file, folder):kind>/<id>"

blueprint = Blueprint("files", __name__, url_prefix="/files")
transfers.add_routes(blueprint)


@blueprint.get("/")
def home() -> str | Response:
    """Show the user's top folder."""
    return _folder_page(services.root(current_user.id).id)


@blueprint.get("/folder/<id>")
def folder(id: str) -> str | Response:
    """Show a folder."""
    return _folder_page(id)


def _folder_page(folder_id: str) -> str | Response:
    order = Order(
        sort=request.args.get("sort", "name"),
        direction=request.args.get("direction", "asc"),
        after=request.args.get("after"),
    )
    page = queries.folder_page(current_user.id, folder_id, order)
    if page.first_url and not page.rows:
        return _to_first(page.first_url)
    return render_template("files/folder.html", page=page, form=NameForm())


def _to_first(url: str) -> Response:
    """Lead away from a page whose rows all went; it would say that nothing is here."""
    return redirect(url)


@blueprint.get("/folder/<id>/details")
def folder_details(id: str) -> str:
    """Show everything about a folder, and what can be done with it."""
    return _entry_page(id, FOLDER)


@blueprint.get("/file/<id>")
def file(id: str) -> str:
    """Show everything about a file, and what can be done with it."""
    return _entry_page(id, FILE)


def _entry_page(entry_id: str, kind: int, problem: str | None = None) -> str:
    page = queries.entry_page(current_user.id, entry_id, kind)
    form = NameForm(name=page.entry.name)
    if problem is not None:
        form.name.errors = [problem]
    return render_template("files/entry.html", page=page, form=form)


@blueprint.post("/folder/<id>/folders")
def create_folder(id: str) -> Response:
    """Make a folder in this one."""
    made = services.create_folder(current_user.id, id, request.form.get("name", ""))
    if wants_json():
        return _json(uploads.describe(made), 201)
    return _done(f"“{made.name}” is ready.", url_for("files.folder", id=id))


@blueprint.post(f"{ENTRY}/rename")
def rename(kind: str, id: str) -> Response | tuple[str, int]:
    """Give an entry another name."""
    try:
        entry = services.rename(
            current_user.id, id, request.form.get("name", ""), KINDS[kind]
        )
    except (BadName, NameTaken) as error:
        if wants_json():
            raise
        return _entry_page(id, KINDS[kind], str(error)), error.status
    if wants_json():
        return _json(uploads.describe(entry))
    return _done(f"It is now named “{entry.name}”.", _folder_of(entry))


@blueprint.post(f"{ENTRY}/move")
def move(kind: str, id: str) -> Response:
    """Move an entry into the folder of the field `folder`; ask for one without it."""
    return _move([id], KINDS[kind], many=False)


@blueprint.post(f"{ENTRY}/delete")
def delete(kind: str, id: str) -> Response:
    """Put an entry into the trash."""
    return _delete([id], KINDS[kind], many=False)


@blueprint.post(f"{ENTRY}/restore")
def restore(kind: str, id: str) -> Response:
    """Bring an entry back from the trash."""
    return _restore([id], KINDS[kind], many=False)


@blueprint.post(f"{ENTRY}/purge")
def purge(kind: str, id: str) -> Response | str:
    """Remove an entry of the trash for good."""
    return _purge([id], KINDS[kind])


@blueprint.post("/selection/<any(move, delete, restore, purge):verb>")
def selection(verb: str) -> Response | str:
    """Do to all the entries of the field `entry` what is done to one."""
    ids = request.form.getlist("entry")
    if not ids and not wants_json():
        flash("Nothing was selected. Tick at least one row first.", "warning")
        return redirect(safe_next(request.form.get("next")), 303)
    if not ids:
        raise BadRequest("Nothing was selected: the field `entry` is missing.")
    if verb == "move":
        return _move(ids, None, many=True)
    if verb == "delete":
        return _delete(ids, None, many=True)
    if verb == "restore":
        return _restore(ids, None, many=True)
    return _purge(ids, None)


@blueprint.get("/choose")
def choose() -> str | Response:
    """Let the user walk to the folder into which a selection is moved."""
    page = queries.chooser_page(
        current_user.id,
        request.args.getlist("entry"),
        request.args.get("at"),
        request.args.get("after"),
    )
    if page.first_url and not page.folders:
        return _to_first(page.first_url)
    return render_template("files/choose.html", page=page)


@blueprint.get("/trash", endpoint="trash")
def trash_page() -> str | Response:
    """Show what was deleted."""
    page = queries.trash_page(current_user.id, request.args.get("after"))
    if page.first_url and not page.rows:
        return _to_first(page.first_url)
    return render_template("files/trash.html", page=page)


@blueprint.post("/trash/purge")
def purge_trash() -> Response | str:
    """Remove everything in the trash for good."""
    action = url_for("files.purge_trash")
    if not _confirmed():
        page = queries.confirm_whole_trash(current_user.id, action)
        return render_template("files/confirm.html", page=page)
    count = trash.purge_trash(current_user.id)
    if wants_json():
        return _json({"purged": count})
    return _done("The trash is empty.", url_for("files.trash"))


def _move(ids: Sequence[str], kind: int | None, *, many: bool) -> Response:
    target = request.form.get("folder")
    if not target:
        if len(ids) > PAGE:
            raise BadRequest(f"Choose {PAGE} entries at most, then a folder for them.")
        services.live_entries(db.session, current_user.id, ids, kind)
        return redirect(url_for("files.choose", entry=ids), 303)
    entries = services.move(current_user.id, ids, target, kind)
    if wants_json():
        return _entries(entries, many=many)
    return _done(f"{_them(entries)} moved here.", url_for("files.folder", id=target))


def _delete(ids: Sequence[str], kind: int | None, *, many: bool) -> Response:
    entries = trash.trash(current_user.id, ids, kind)
    if wants_json():
        return _entries(entries, many=many)
    place = entries[0].trashed_from
    back = url_for("files.folder", id=place) if place else url_for("files.home")
    message = f"{_them(entries)} moved to the trash."
    # The base template draws a mapping as the text with a button that undoes it.
    undo: Any = {"text": message, "undo": [entry.id for entry in entries]}
    # Far more than a page offers would not go into a cookie.
    flash(undo if len(entries) <= PAGE else message, "success")
    return _back(back)


def _restore(ids: Sequence[str], kind: int | None, *, many: bool) -> Response:
    restored = trash.restore(current_user.id, ids, kind)
    if wants_json():
        return _entries([one.entry for one in restored], many=many)
    for one in restored[:SHOWN_NAMES]:
        _tell_restored(one)
    more = len(restored) - SHOWN_NAMES
    if more > 0:
        flash(f"{more} more {'is' if more == 1 else 'are'} back.", "success")
    return _back(url_for("files.folder", id=restored[0].folder.id))


def _tell_restored(one: trash.Restored) -> None:
    text = f"“{short(one.old_name)}” is back in {short(one.folder.name)}."
    if one.old_place_gone:
        text += " Its old folder is gone, so it is in the top folder now."
    if one.renamed:
        text += f" The name was taken, so it is now named “{short(one.entry.name)}”."
    changed = one.old_place_gone or one.renamed
    flash(text, "warning" if changed else "success")


def _purge(ids: Sequence[str], kind: int | None) -> Response | str:
    if not _confirmed():
        action = url_for("files.selection", verb="purge")
        page = queries.confirm_page(current_user.id, ids, kind, action)
        return render_template("files/confirm.html", page=page)
    count = trash.purge(current_user.id, ids, kind)
    if wants_json():
        return _json({"purged": count})
    return _done("Removed for good.", url_for("files.trash"))


def _confirmed() -> bool:
    return wants_json() or request.form.get("confirm") == "yes"


def _them(entries: Sequence[Entry]) -> str:
    if len(entries) == 1:
        return f"“{entries[0].name}” was"
    return f"{len(entries)} entries were"


def _entries(entries: Sequence[Entry], *, many: bool) -> Response:
    described = [uploads.describe(entry) for entry in entries]
    return _json({"entries": described} if many else described[0])


def _folder_of(entry: Entry) -> str:
    if entry.parent_id is None:
        return url_for("files.home")
    return url_for("files.folder", id=entry.parent_id)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    response: Response = jsonify(body)
    response.status_code = status
    return response


def _done(message: str, target: str) -> Response:
    flash(message, "success")
    return _back(target)


def _back(target: str) -> Response:
    asked = request.form.get("next")
    return redirect(safe_next(asked) if asked else target, 303)


@public
def to_files() -> Response:
    """Lead from the bare address to the files."""
    return redirect(url_for("files.home"))


def page_facts() -> dict[str, Any]:
    """Return what every page shows: the state of the storage and the room left."""
    if not current_user or not current_user.is_authenticated:
        return {"banner": banner(), "quota": None}
    return {"banner": banner(), "quota": queries.usage(current_user.id)}


def init_app(app: Flask) -> None:
    """Add the pages, the transfers, the commands and the chores."""
    app.register_blueprint(blueprint)
    app.add_url_rule("/", "files_root", to_files)
    app.context_processor(page_facts)
    app.add_template_filter(filesize, "filesize")
    cli.init_app(app)
    app.cli.add_command(publishing.commands)
    pointers.init_app()
    register_names(naming.names_of)
    register_chore("expired trash", trash.expire)
    register_chore("old idempotency keys", uploads.forget_keys)
    carried.register()
    register_arranger(recovered.arrange)
