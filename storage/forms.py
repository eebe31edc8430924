"""The forms of the array page. What is dangerous asks for the member's name, typed.

The token is checked before any view; so these are plain forms.
"""

from collections.abc import Callable
from typing import Any

from werkzeug.datastructures import MultiDict
from wtforms import BooleanField, Field, Form, IntegerField, StringField
from wtforms.validators import InputRequired, Length, NumberRange, ValidationError

from raid.geometry import Level
from storage import names, queries
from storage.errors import Needed
from storage.members.urls import may_hold_secret
from storage.models import MemberRow

_NAME = InputRequired("Type the name of the member, such as Member 2.")
_URL = InputRequired(
    "Type where it is, such as file:///srv/disk4 or s3://bucket/prefix."
)
_LONGEST = 2000


class ArrayForm(Form):
    """A form of the page; `blame` puts what a service said beside its last field."""

    def blame(self, error: Exception) -> None:
        """Say why what was asked could not be done."""
        *_, last = self
        last.errors = [str(error)]

    def forget_secrets(self) -> None:
        """Give back no URL that somebody may have written credentials into."""
        for field in self:
            if field.name == "url" and may_hold_secret(str(field.data or "")):
                field.data = ""


class MemberForm(ArrayForm):
    """One member, by the name that the page shows."""

    member = StringField("Member", [_NAME])
    row: MemberRow
    name: str

    def validate_member(self, field: Field) -> None:
        """Find the member."""
        found = names.named(str(field.data))
        if found is None:
            raise ValidationError(
                "No member has this name. Type it as it stands above its place, such "
                "as Member 2. Nothing was changed."
            )
        self.row, self.name = found, names.label(found.uuid)

    @property
    def slot(self) -> int:
        """Return the slot of the member; a spare has none and is refused."""
        if self.row.slot is None:
            raise NoSlot
        return self.row.slot


class ForcedForm(MemberForm):
    """A member to do without; when it is needed, only with `force`."""

    force: BooleanField
    cost: Callable[[int], str]
    """Says what it would cost to do without the member of a slot."""
    costs = ""
    """What doing without it would cost, once it was refused because of that."""

    def blame(self, error: Exception) -> None:
        """Say why beside the member; what is needed can be done without by force."""
        self.member.errors = [str(error)]
        if isinstance(error, Needed):
            self.costs = self.cost(self.slot)


class FailForm(ForcedForm):
    """A member to be taken out of use."""

    force = BooleanField("Fail it all the same")
    cost = staticmethod(queries.without)


class NoSlot(ValueError):
    """A member without a slot can't be failed or replaced."""

    def __init__(self) -> None:
        super().__init__("This member has no slot, so only retiring it is possible.")


class ReplaceForm(ForcedForm):
    """A member, and where the one is that takes its slot."""

    force = BooleanField("Replace it all the same")
    cost = staticmethod(queries.given_up)
    url = StringField("New member", [_URL, Length(max=_LONGEST)])


class SpareForm(ArrayForm):
    """Where a new member is: a spare, or one that makes the array wider."""

    url = StringField("Place", [_URL, Length(max=_LONGEST)])


class ProbeForm(SpareForm):
    """A place to be tried, that is a member or may become one."""


class ConvertForm(ArrayForm):
    """Another level."""

    level = StringField("Level", [InputRequired("Choose a level.")])
    levels = tuple(Level)


class PaceForm(ArrayForm):
    """Percent of the time that jobs may work."""

    percent = IntegerField(
        "Pace",
        [
            InputRequired("Type a number from 1 to 100."),
            NumberRange(1, 100, "The pace is a number of percent from 1 to 100."),
        ],
    )


FORMS: dict[str, type[ArrayForm]] = {
    "fail": FailForm,
    "probe": ProbeForm,
    "readd": MemberForm,
    "replace": ReplaceForm,
    "retire": MemberForm,
    "spare": SpareForm,
    "widen": SpareForm,
    "narrow": MemberForm,
    "convert": ConvertForm,
    "pace": PaceForm,
}


def of(verb: str, sent: MultiDict[str, Any] | None = None) -> ArrayForm:
    """Return the form of a verb; its fields' ids begin with the verb."""
    form = FORMS[verb](sent)
    for field in form:
        field.id = f"{verb}-{field.name}"
    return form
