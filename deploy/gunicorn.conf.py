"""How gunicorn serves the site; the launcher starts it with this file.

Nothing is opened before the fork: every worker makes its own connections and threads.
"""

import os
from pathlib import Path
from typing import Any

import config as _config  # gunicorn takes plain names for settings

_SETTINGS = _config.load(os.environ)
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only gunicorn's heartbeat lives there

if _SETTINGS.secret_key is None:
    raise SystemExit(
        "There is no secret key yet. Start the site once with: python app.py (or make "
        "run), which makes one, or set HOLDFAST_SECRET_KEY."
    )

chdir = str(Path(__file__).resolve().parent.parent)
wsgi_app = "wsgi:app"
bind = [_SETTINGS.bind]
umask = 0o077

# One process holds MEMORY_BYTES of buffers. Its threads wait for sockets and disks,
# and a slow client keeps one of them busy, so there are many.
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
threads = _SETTINGS.threads
worker_connections = 1000
preload_app = False
worker_tmp_dir = str(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else None

# A worker's heart beats beside its requests, so an upload may take hours.
timeout = 60
graceful_timeout = _SETTINGS.grace_seconds
# Longer than Nginx keeps an idle connection (60 s), or it would meet a closed one.
keepalive = 75

# Two servers of one user would take the same socket.
control_socket_disable = True
# Proxies are believed by the application, as TRUSTED_PROXIES says, and never here.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
proxy_protocol = False

# The application writes one line for each request.
accesslog = None
errorlog = "-"
logconfig_dict: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "storage.logs.JsonLines"}},
    "handlers": {
        "err": {"class": "logging.StreamHandler", "formatter": "json"},
    },
    "root": {"level": "INFO", "handlers": ["err"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["err"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": [], "propagate": False},
    },
}


def when_ready(server: Any) -> None:
    """Let the group of the user have the socket too: Nginx is in it."""
    for listener in server.LISTENERS:
        if isinstance(listener.cfg_addr, str):
            Path(listener.cfg_addr).chmod(0o660)


def post_worker_init(worker: Any) -> None:
    """Refuse to serve a database that this release does not know."""
    from sqlalchemy.exc import DBAPIError

    from storage import migrate

    app = worker.wsgi
    try:
        with app.app_context():
            migrate.require_current()
    except DBAPIError as error:
        # Not a definite answer: it may come back, and until then requests get a 503.
        worker.log.warning("The database can't be reached: %s", error)
    except migrate.DatabaseError as error:
        worker.log.error("%s", error)
        raise SystemExit(worker.WORKER_BOOT_ERROR) from error
