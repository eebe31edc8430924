"""Security headers, on every answer that the application makes, errors included.

A view may set a stricter header of its own (a download has its own content policy);
what is there already stays.
"""

from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request
from werkzeug.routing import RequestRedirect

_PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "publickey-credentials-get",
        "usb",
    )
)
_HSTS = "max-age=63072000"
_UNKEPT = "no-store, private, stale-if-error=0"


def content_policy(static_url: str) -> str:
    """Return the content policy of pages whose assets live under `static_url`."""
    own = " ".join(filter(None, ("'self'", static_origin(static_url))))
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {own}",
            f"style-src {own}",
            # Bootstrap draws the marks of its form controls with data: images.
            f"img-src {own} data:",
            f"font-src {own}",
            "connect-src 'self'",
            "form-action 'self'",
            "manifest-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def static_origin(static_url: str) -> str | None:
    """Return the origin of a STATIC_URL on another server."""
    parts = urlsplit(static_url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


def add(response: Response) -> Response:
    """Put the headers on an answer."""
    settings = current_app.config["HOLDFAST"]
    headers = response.headers
    headers.setdefault("Content-Security-Policy", content_policy(settings.static_url))
    headers.setdefault("X-Content-Type-Options", "nosniff")
    # Not no-referrer: browsers would then send `Origin: null` with our own forms.
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", _PERMISSIONS)
    headers.setdefault("X-Frame-Options", "DENY")
    if settings.secure:
        headers.setdefault("Strict-Transport-Security", _HSTS)
    if request.endpoint == "static":
        _share_assets(response, static_origin(settings.static_url))
    else:
        _keep_private(response)
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    return response


def _share_assets(response: Response, origin: str | None) -> None:
    if response.status_code >= 400:
        response.headers["Cache-Control"] = "public, max-age=10"
    if origin is not None:
        # Pages load modules and fonts through that server, which is another origin.
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.headers["Access-Control-Allow-Origin"] = "*"


def _keep_private(response: Response) -> None:
    """Let nothing that depends on who asks be kept by a browser or a cache.

    Flask-Login notes in `g` who was looked up, so asking here loads nobody.
    """
    response.headers.setdefault("Cache-Control", _UNKEPT)
    if g.get("_login_user") is not None:
        response.vary.add("Cookie")


def forget_host(response: Response) -> Response:
    """Send routing's own redirects (a slash too many or too few) as plain paths.

    Werkzeug writes the Host header into them, which is whatever the client said.
    """
    redirect = request.routing_exception
    if isinstance(redirect, RequestRedirect):
        target = urlsplit(redirect.new_url)
        query = f"?{target.query}" if target.query else ""
        response.headers["Location"] = "/" + target.path.lstrip("/") + query
        response.set_data(b"")
    return response


def init_app(app: Flask) -> None:
    """Add the headers last, when everything else is decided."""
    app.after_request(add)
    app.after_request(forget_host)
