"""The forms of this package: their fields; services decide what is accepted."""

from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired


def _needed(sentence: str) -> list[InputRequired]:
    return [InputRequired(sentence)]


def _same() -> list[EqualTo]:
    return [EqualTo("password", "The two passwords differ. Type them again.")]


class LoginForm(FlaskForm):
    """User name and password."""

    username = StringField(validators=_needed("Type your user name."))
    password = PasswordField(validators=_needed("Type your password."))


class RegisterForm(FlaskForm):
    """A new account."""

    username = StringField(validators=_needed("Choose a user name."))
    email = StringField()
    password = PasswordField(validators=_needed("Choose a password."))
    confirm = PasswordField(validators=_same())


class PasswordForm(FlaskForm):
    """A change of the password."""

    current = PasswordField(validators=_needed("Type your current password."))
    password = PasswordField(validators=_needed("Choose a new password."))
    confirm = PasswordField(validators=_same())
