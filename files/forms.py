"""The forms of this package; whether a name is accepted is decided by the services."""

from flask_wtf import FlaskForm
from wtforms import StringField


class NameForm(FlaskForm):
    """A name: of a new folder, or a new one for what is there."""

    name = StringField("Name")
