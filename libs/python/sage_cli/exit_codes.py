"""The process's exit code for each kind of failure (the numbers of sysexits.h)."""

from __future__ import annotations

import errno

from sage_common.errors import ConfigurationError, ErrorKind, SageError

EXIT_INTERRUPTED = 130
EXIT_CONFIGURATION = 78
# sysexits.h: EX_IOERR.
EXIT_OS_ERROR = 74
# What init scripts use for "the program is not running" (Linux Standard Base).
EXIT_NOT_RUNNING = 3

EXIT_CODES: dict[ErrorKind, int] = {
    ErrorKind.INVALID_REQUEST: 64,
    ErrorKind.UNAUTHENTICATED: 77,
    ErrorKind.PERMISSION_DENIED: 77,
    ErrorKind.NOT_FOUND: 66,
    ErrorKind.CONFLICT: 73,
    ErrorKind.TOO_LARGE: 65,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 65,
    ErrorKind.UNPROCESSABLE: 65,
    ErrorKind.CONTENDED: 75,
    ErrorKind.CANCELLED: EXIT_INTERRUPTED,
    ErrorKind.INTERNAL: 70,
    ErrorKind.UNIMPLEMENTED: 69,
    ErrorKind.ENGINE_FAILED: 69,
    ErrorKind.UNAVAILABLE: 69,
    ErrorKind.DEADLINE_EXCEEDED: 75,
}


def exit_code(error: SageError) -> int:
    """Return the exit code for an error."""
    return EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_CODES[error.kind]


def explain_os_error(error: OSError) -> str:
    """Say what the system refused, where, and what helps."""
    where = f" at {error.filename}" if error.filename else ""
    remedy = "free some space there, or move SAGE's files with XDG_STATE_HOME and XDG_DATA_HOME"
    advice = f"; {remedy}" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES) else ""
    return f"the system refused: {error.strerror or error}{where}{advice}"
