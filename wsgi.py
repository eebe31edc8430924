"""What gunicorn and the `flask` command load."""

from app import create_app
from deploy import arenas

arenas.keep_few()
app = create_app()
