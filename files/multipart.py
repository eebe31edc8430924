"""A form with files, read as it arrives: fields first, then each file as a stream.

Werkzeug's decoder finds the parts; this bounds everything around them, so that neither
memory nor time depends on what a client sends.
"""

import re
from collections.abc import Iterator

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio import multipart

from files.body import GuardedBody
from files.errors import BadRequest, TooLarge

READ_BYTES = 1 << 16
# Fields are tokens and ids; a part's headers are a name or two.
FIELD_BYTES = 1 << 16
HEADER_BYTES = 1 << 16
MAX_PARTS = 1000
# The RFC says 70; some clients do not count.
BOUNDARY_BYTES = 200
# Browsers write a name as it is, backslashes included, and the quote as %22 (WHATWG);
# Werkzeug would take a backslash away, as mail does.
_FILENAME = re.compile(r';\s*filename="((?:\\"|[^"])*)"\s*(?:;|\Z)', re.IGNORECASE)

_BROKEN = (
    "The form is broken: {reason}. Nothing more of it was kept. Reload the page and "
    "try again."
)


class Part:
    """A file of the form; read it before asking for the next one."""

    def __init__(self, name: str, filename: str, media_type: str | None) -> None:
        self.name = name
        self.filename = filename
        self.media_type = media_type
        self.size = 0
        self._rest = memoryview(b"")
        self._more = True
        self._form: Form | None = None

    def of(self, form: "Form") -> "Part":
        """Read the bytes from this form."""
        self._form = form
        return self

    def readinto(self, view: memoryview) -> int:
        """Fill the view, at least partly; 0 is the end of this file."""
        while not self._rest and self._more and self._form is not None:
            data = self._form.data()
            self._rest, self._more = memoryview(data.data), data.more_data
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self.size += count
        return count

    def skip(self) -> None:
        """Read to the end of this file and keep nothing of it."""
        scratch = memoryview(bytearray(READ_BYTES))
        while self.readinto(scratch):
            pass

    def is_empty(self) -> bool:
        """Tell whether a browser sent this for a picker with nothing chosen."""
        if self.filename:
            return False
        return not self.readinto(memoryview(bytearray(1)))


class Form:
    """The parts of a multipart body, in their order."""

    def __init__(self, body: GuardedBody, content_type: str) -> None:
        self._body = body
        self._decoder = multipart.MultipartDecoder(
            _boundary(content_type),
            max_form_memory_size=READ_BYTES + HEADER_BYTES,
            max_parts=MAX_PARTS,
        )
        self._fields_left = FIELD_BYTES
        self._part: Part | None = None
        self.fields: dict[str, str] = {}

    def files(self) -> Iterator[Part]:
        """Yield each file; the fields that stood before it are in `fields`."""
        while True:
            if self._part is not None:
                self._part.skip()
            event = self._next()
            if isinstance(event, multipart.Field | multipart.File):
                self._part = _part(event)
                if self._part is None:
                    self._read_field(event.name or "")
                else:
                    yield self._part.of(self)
            elif isinstance(event, multipart.Epilogue):
                return

    def data(self) -> multipart.Data:
        """Return the next bytes of the present part."""
        event = self._next()
        if not isinstance(event, multipart.Data):
            raise BadRequest(_BROKEN.format(reason="a part of it has no end"))
        return event

    def _read_field(self, name: str) -> None:
        value = bytearray()
        more = True
        while more:
            event = self.data()
            value += event.data
            self._fields_left -= len(event.data)
            if self._fields_left < 0:
                raise TooLarge(
                    "The fields of this form are too long. Nothing more of it was kept."
                )
            more = event.more_data
        try:
            self.fields[name] = value.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(_BROKEN.format(reason="a field is no text")) from error

    def _next(self) -> multipart.Event:
        try:
            while True:
                event = self._decoder.next_event()
                if not isinstance(event, multipart.NeedData):
                    return event
                data = self._body.read(READ_BYTES)
                self._decoder.receive_data(data or None)
        except RequestEntityTooLarge as error:
            raise TooLarge(
                f"The form has over {MAX_PARTS} parts, or a part with headers that are "
                "too long. Nothing more of it was kept. Send fewer files at once."
            ) from error
        except (ValueError, AttributeError) as error:
            # AttributeError: the decoder meets a part that does not begin with a line
            # break, which no client sends by accident.
            raise BadRequest(
                _BROKEN.format(reason="its parts don't end where they should")
            ) from error


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data":
        raise BadRequest(
            "Files are sent as multipart/form-data here. Nothing was kept. Use the "
            "form, or PUT the bytes under the file's name."
        )
    boundary = options.get("boundary", "").encode(errors="replace")
    if not 0 < len(boundary) <= BOUNDARY_BYTES:
        raise BadRequest(_BROKEN.format(reason="its boundary is missing or too long"))
    return boundary


def _part(event: multipart.File | multipart.Field) -> Part | None:
    """Return the file that this begins; None for a field."""
    filename = event.filename if isinstance(event, multipart.File) else None
    said = _FILENAME.search(event.headers.get("content-disposition", ""))
    if said:
        filename = said[1].replace('\\"', '"')
    if filename is None:
        return None
    media_type = event.headers.get("content-type")
    return Part(event.name or "", filename.replace("%22", '"'), media_type)
