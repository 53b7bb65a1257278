"""An upload's form, ``multipart/form-data``, read as it comes: the bytes of the file are handed on, never collected."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sage_common.errors import InvalidRequestError, UnsupportedMediaTypeError

FILE_FIELD = "file"
MAX_FIELDS = 16
MAX_FIELD_BYTES = 4096
MAX_FILENAME_CHARACTERS = 512


class UploadForm:
    """Takes the pieces of a body in order.

    Attributes:
        fields: the form's fields but the file, by name.
        filename: of the file; None until its part has begun.
        is_whole: whether the end of the form has come.
    """

    def __init__(self, content_type: str) -> None:
        """Raises UnsupportedMediaTypeError where the type of the body is not that of a form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise UnsupportedMediaTypeError(
                f"content type {content_type[:80]!r} is not understood; upload with 'multipart/form-data', as "
                "`curl -F purpose=batch -F file=@FILE` does"
            )
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.is_whole = False
        self._name = ""
        self._value = bytearray()
        self._file_bytes = bytearray()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise InvalidRequestError(f"the form cannot be read: {error}", code="invalid_form") from None

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the body; return the bytes of the file that it holds. Raises InvalidRequestError."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequestError(f"the form cannot be read: {error}", code="invalid_form") from None
        file_bytes = bytes(self._file_bytes)
        self._file_bytes.clear()
        return file_bytes

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._value = bytearray()

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == FILE_FIELD:
            if self.filename is not None:
                raise InvalidRequestError("the form has two files; upload one at a time", param=FILE_FIELD)
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")[:MAX_FILENAME_CHARACTERS]
        elif self._name in self.fields:
            raise InvalidRequestError(f"the form has the field {self._name[:80]!r} twice", param=self._name[:80])
        elif len(self.fields) == MAX_FIELDS:
            raise InvalidRequestError(f"the form has more than {MAX_FIELDS} fields", code="invalid_form")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE_FIELD:
            self._file_bytes += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise InvalidRequestError(
                f"the field {self._name[:80]!r} has more than {MAX_FIELD_BYTES} bytes", param=self._name[:80]
            )

    def _on_part_end(self) -> None:
        if self._name != FILE_FIELD:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self.is_whole = True
