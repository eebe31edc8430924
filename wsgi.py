"""What gunicorn and the `flask` command load."""

from app import create_app
from storage import heap

heap.keep_one()
app = create_app()
