"""The array page, for administrators; for everybody else it does not exist."""

from flask import Blueprint, Flask, abort, render_template
from flask_login import current_user

from storage import queries

blueprint = Blueprint("array", __name__, url_prefix="/array")


@blueprint.get("/")
def index() -> str:
    """Show the state of the array and of its members."""
    if not getattr(current_user, "is_admin", False):
        abort(404)
    return render_template("array/index.html", status=queries.status())


def init_app(app: Flask) -> None:
    """Add the page."""
    app.register_blueprint(blueprint)
