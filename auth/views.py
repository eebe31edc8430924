"""Pages to register, sign in, sign out and change the password."""

from collections.abc import Callable

from flask import (
    Blueprint,
    current_app,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_login import current_user
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response

from auth import services
from auth.access import public, safe_next, wants_json
from auth.errors import AuthError, BadForm, Throttled
from auth.forms import LoginForm, PasswordForm, RegisterForm

blueprint = Blueprint("auth", __name__, url_prefix="/auth")


@blueprint.get("/login")
@public
def login() -> Response | str:
    """Show the login page; who is signed in already goes on."""
    if current_user.is_authenticated:
        return redirect(safe_next(_next()))
    return _page("login", LoginForm())


@blueprint.post("/login")
@public
def submit_login() -> Response:
    """Sign somebody in."""
    form = LoginForm()

    def work() -> None:
        services.log_in(form.username.data, form.password.data)

    return _submit("login", form, work) or redirect(safe_next(_next()), 303)


@blueprint.get("/register")
@public
def register() -> Response | str:
    """Show the page for a new account."""
    services.require_registration()
    if current_user.is_authenticated:
        return redirect(safe_next(_next()))
    return _page("register", RegisterForm())


@blueprint.post("/register")
@public
def submit_register() -> Response:
    """Make an account and sign its owner in."""
    services.require_registration()
    form = RegisterForm()

    def work() -> None:
        services.register(form.username.data, form.email.data or "", form.password.data)

    return _submit("register", form, work) or redirect(safe_next(_next()), 303)


@blueprint.get("/password")
def password() -> Response | str:
    """Show the page to change the password."""
    return _page("password", PasswordForm())


@blueprint.post("/password")
def submit_password() -> Response:
    """Change the password; other browsers are signed out."""
    form = PasswordForm()

    def work() -> None:
        services.change_password(form.current.data, form.password.data)

    refused = _submit("password", form, work)
    if refused is not None:
        return refused
    flash("Your password was changed. Other browsers were signed out.", "success")
    return redirect(url_for("auth.password"), 303)


@blueprint.post("/logout")
def logout() -> Response:
    """Sign out, and have the browser forget what it kept."""
    services.log_out()
    flash("You are signed out.", "success")
    response = redirect(url_for("auth.login"), 303)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


def _submit(page: str, form: FlaskForm, work: Callable[[], None]) -> Response | None:
    """Do the work of a form; return the refused form, or None when it went well."""
    try:
        _require_valid(form)
        work()
    except AuthError as error:
        if wants_json():
            raise
        return _refused(page, form, error)
    return None


def _require_valid(form: FlaskForm) -> None:
    if form.validate():
        return
    field, messages = next(iter(form.errors.items()))
    raise BadForm(str(messages[0]), field)


def _refused(page: str, form: FlaskForm, error: AuthError) -> Response:
    problem: str | None = str(error)
    if error.field is not None and error.field in form:
        field = form[error.field]
        if not field.errors:
            field.errors = [str(error)]
        problem = None
    response = make_response(_page(page, form, problem), 400)
    if isinstance(error, Throttled):
        response.status_code = 429
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _page(page: str, form: FlaskForm, problem: str | None = None) -> str:
    target = safe_next(_next())
    return render_template(
        f"auth/{page}.html",
        form=form,
        next=target if target != "/files/" else "",
        problem=problem,
        registration_open=services.registration_open(),
        minimum=current_app.config["HOLDFAST"].password_min_length,
    )


def _next() -> str | None:
    return request.form.get("next") or request.args.get("next")
