"""The forms of this package: their fields; services decide what is accepted."""

from flask_wtf import FlaskForm
from wtforms import EmailField, PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired

_NEW = {"autocomplete": "new-password"}
_NAME = {"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}


def _needed(sentence: str) -> list[InputRequired]:
    return [InputRequired(sentence)]


def _same() -> list[object]:
    return [EqualTo("password", "The two passwords differ. Type them again.")]


class LoginForm(FlaskForm):
    """User name and password."""

    username = StringField(
        "User name", _needed("Type your user name."), render_kw=_NAME
    )
    password = PasswordField(
        "Password",
        _needed("Type your password."),
        render_kw={"autocomplete": "current-password"},
    )


class RegisterForm(FlaskForm):
    """A new account."""

    username = StringField("User name", _needed("Choose a user name."), render_kw=_NAME)
    email = EmailField("E-mail (optional)", render_kw={"autocomplete": "email"})
    password = PasswordField("Password", _needed("Choose a password."), render_kw=_NEW)
    confirm = PasswordField("Password again", _same(), render_kw=_NEW)


class PasswordForm(FlaskForm):
    """A change of the password."""

    current = PasswordField(
        "Current password",
        _needed("Type your current password."),
        render_kw={"autocomplete": "current-password"},
    )
    password = PasswordField(
        "New password", _needed("Choose a new password."), render_kw=_NEW
    )
    confirm = PasswordField("New password again", _same(), render_kw=_NEW)
