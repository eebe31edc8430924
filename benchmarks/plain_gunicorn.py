"""The product's own gunicorn configuration, serving the yardstick instead."""

from pathlib import Path

_source = Path(__file__).resolve().parent.parent / "deploy" / "gunicorn.conf.py"
__file__ = str(_source)
exec(compile(_source.read_text(), str(_source), "exec"))
wsgi_app = "benchmarks.plain:app"
del post_worker_init  # noqa: F821 - it looks at a database that is not there
