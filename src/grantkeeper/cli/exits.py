"""Exit codes, and which error ends in which. 69 to 78 are those of BSD's sysexits.h."""

from __future__ import annotations

from enum import IntEnum

from grantkeeper.errors import (
    ConfigError,
    GrantkeeperError,
    NotFound,
    ProviderUnavailable,
    StorageUnavailable,
    Unavailable,
)


class ExitCode(IntEnum):
    """What a script may rely on; `meaning` is its documentation (docs/cli.md)."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "It is done."
    FAILED = 1, "It could not be done, and the message says why; or `doctor` found something broken."
    USAGE = 2, "The command line is wrong: an unknown option, a missing argument."
    NOT_FOUND = 3, "There is no such user, account, token, provider or connection."
    UNAVAILABLE = (
        69,
        "Not now: the database is locked or away, the port is taken, a provider does not answer.",
    )
    UNEXPECTED = 70, "An error that nobody foresaw; `--debug` shows where."
    CONFIGURATION = 78, "Settings, root keyset or database schema need the operator; every problem is listed."
    INTERRUPTED = 130, "Ctrl-C, or a no, at a question."


class CommandFailed(GrantkeeperError):
    """What a command cannot do, with the exit code it ends in."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def exit_code(error: GrantkeeperError) -> ExitCode:
    """The exit code that an error ends in."""
    if isinstance(error, CommandFailed):
        return error.code
    if isinstance(error, ConfigError):
        return ExitCode.CONFIGURATION
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    if isinstance(error, StorageUnavailable | Unavailable | ProviderUnavailable):
        return ExitCode.UNAVAILABLE
    return ExitCode.FAILED
