"""Refusals of servers and of the drivers that ask them, as one line each with the way out."""

from __future__ import annotations

import errno
from ssl import SSLCertVerificationError
from urllib.error import HTTPError

from geomclip.machine.addresses import plain_in
from geomclip.machine.blame import causes
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import one_line

NO_RIGHTS, NOT_THERE = (401, 403, 407), (404, 410)
# as clients of clouds name what they raise when they have nothing to show
_WITHOUT_KEYS = ("NoCredentials", "CredentialsError", "AccessDenied", "Unauthorized", "Authentication", "Forbidden")


def refusal(shown: str, problem: BaseException) -> NotAvailableError | InputError:
    """The error for what was raised when an address was asked for or read.

    Parameters
    ----------
    shown : str
        The address without what gives access.

    Examples
    --------
    >>> refusal("s3://b/a.npz", PermissionError("Forbidden")).args[0][:32]
    's3://b/a.npz may not be read (Fo'
    >>> refusal("https://h/a.npz", TimeoutError("timed out"))
    NotAvailableError('https://h/a.npz cannot be reached (timed out): run the same command again when it can')
    """
    within = getattr(problem, "reason", None)  # of an URLError
    problem = within if isinstance(within, OSError) else problem
    chain = list(causes(problem))
    status = next((code for each in chain if (code := _status(each)) is not None), None)
    reason = _reason(problem, status)
    for each in chain:
        if isinstance(each, HTTPError):
            each.close()
    if any(isinstance(each, SSLCertVerificationError) for each in chain):
        way = "SSL_CERT_FILE names a file with that of its authority, if you trust it"
        return NotAvailableError(f"{shown} cannot be reached: this machine does not trust its certificate; {way}")
    if status in NO_RIGHTS or any(map(_lacks_rights, chain)):
        if shown.startswith("http"):
            way = "name an address that is signed and has not expired, or fetch the file by hand"
        else:
            way = "give this user the rights, or its driver the keys, where it looks for them (docs/remote.md)"
        return NotAvailableError(f"{shown} may not be read ({reason}): {way}")
    if any(isinstance(each, IsADirectoryError) for each in chain):
        return InputError(f"{shown} is a folder: name a file in it")
    if status in NOT_THERE or any(isinstance(each, FileNotFoundError) for each in chain):
        return NotFoundError(f"{shown} is not there ({reason}): see that the address is right")
    return NotAvailableError(f"{shown} cannot be reached ({reason}): run the same command again when it can")


class NotFoundError(NotAvailableError):
    """Nothing lies at an address."""


def _status(problem: BaseException) -> int | None:
    for name in ("code", "status"):
        value = getattr(problem, name, None)
        if type(value) is int and 400 <= value < 600:
            return value
    return None


def _lacks_rights(problem: BaseException) -> bool:
    if isinstance(problem, PermissionError) or getattr(problem, "errno", None) == errno.EACCES:
        return True
    return any(word in type(problem).__name__ for word in _WITHOUT_KEYS)


def _reason(problem: BaseException, status: int | None) -> str:
    text = plain_in(one_line(problem, 300))
    if isinstance(problem, HTTPError):
        return f"{problem.code} {one_line(problem.reason, 100)}"
    return text[:200] if status is None else f"{status}: {text[:200]}"
