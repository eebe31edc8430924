"""Who somebody is and what they may reach: accounts, sessions, access, CSRF."""

from flask import Flask

from auth import access, carried, cli, csrf, keymark, services, sessions, views
from storage.worker import register_chore


def init_app(app: Flask) -> None:
    """Add sessions, the guards of every request, the pages, commands and a chore.

    The access guard comes before the CSRF guard, so that a stranger is asked to sign
    in rather than told about tokens.
    """
    sessions.init_app(app)
    access.init_app(app)
    csrf.init_app(app)
    app.register_blueprint(views.blueprint)
    app.cli.add_command(cli.commands)
    app.cli.add_command(keymark.commands)
    register_chore("accounts", services.remove_old)
    carried.register()
