"""What can go wrong with accounts, as types that the application maps to answers."""

from typing import ClassVar


class AuthError(Exception):
    """The base of every refusal of this package; the message is a whole sentence."""

    code: ClassVar[str] = "refused"
    field: str | None = None


class BadForm(AuthError):
    """What was sent can't be accepted; `field` names the field it is about."""

    code = "bad_form"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class BadUserName(AuthError):
    """The user name is empty, too long or has characters that names can't have."""

    code = "bad_user_name"
    field = "username"


class NameTaken(AuthError):
    """Somebody has this user name, or one that reads the same."""

    code = "user_name_taken"
    field = "username"


class BadEmail(AuthError):
    """This does not look like an e-mail address."""

    code = "bad_email"
    field = "email"


class WeakPassword(AuthError):
    """The new password is too short, too long or too easy to guess."""

    code = "weak_password"
    field = "password"


class WrongLogin(AuthError):
    """User name and password do not go together; never says which was wrong."""

    code = "wrong_login"


class WrongPassword(AuthError):
    """The current password, asked for before it is changed, is wrong."""

    code = "wrong_password"
    field = "current"


class Throttled(AuthError):
    """Too many failures: the next attempt may be made after `retry_after` seconds."""

    code = "throttled"

    def __init__(self, retry_after: int) -> None:
        minutes = -(-retry_after // 60)
        unit = "minute" if minutes == 1 else "minutes"
        super().__init__(
            "There were too many failed attempts. "
            f"Wait {minutes} {unit}, then try again."
        )
        self.retry_after = retry_after


class RegistrationClosed(AuthError):
    """Nobody can register by themselves here."""

    code = "registration_closed"


class NotSignedIn(AuthError):
    """The request needs a session and has none."""

    code = "not_signed_in"


class NoSuchUser(AuthError):
    """No account has this user name."""

    code = "no_such_user"


class CsrfRefused(AuthError):
    """The request can't be shown to come from one of our own pages."""

    code = "csrf"


class UnsupportedForm(AuthError):
    """The body of a form is of a kind that no form of ours sends."""

    code = "unsupported_form"


class AnotherKey(AuthError):
    """The secret key of this instance is not the one that the others have."""
