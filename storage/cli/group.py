"""The group `flask array`, which the modules beside this one add commands to."""

from flask.cli import AppGroup

array = AppGroup("array", help="Look at the array, make it, change it, mend it.")
