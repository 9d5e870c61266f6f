"""Addresses: what is fetched comes by https or is known by its checksum, so that nobody on the way can change it."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from http.client import HTTPMessage, HTTPResponse
from ipaddress import ip_address
from typing import IO
from urllib.parse import urlsplit

from geomclip.machine.errors import InputError

_START = re.compile(r"[A-Za-z][\w+.-]+://", re.ASCII)
_NEXT = r",\w+=[A-Za-z][\w+.-]+://"
# scheme, user and password, path, query, a sum, what else stands behind '#'; up to the next of image=A,text=B
_PARTS = re.compile(
    rf"([A-Za-z][\w+.-]+://)(?:[^/?#]*@)?((?:(?!{_NEXT})[^?#])*)(?:\?(?:(?!{_NEXT})[^#])*)?"
    rf"(#sha256=[0-9a-fA-F]{{64}})?(?:#(?:(?!{_NEXT}).)*)?",
    re.DOTALL | re.ASCII,
)


def is_address(name: object) -> bool:
    """Whether a name is an address, as https://HOST/FILE or s3://BUCKET/KEY, and no path.

    Examples
    --------
    >>> is_address("s3://bucket/store"), is_address("csv:s3://bucket/a.csv"), is_address("C:/store")
    (True, False, False)
    """
    return isinstance(name, str) and _START.match(name) is not None


def plain(name: str) -> str:
    """A name that is an address, or holds some, without what gives access: user, password and query.

    Examples
    --------
    >>> plain("https://me:secret@example.org/a.npz?signature=1"), plain("image=s3://b/a?x=1,text=s3://b/c?y=2")
    ('https://example.org/a.npz', 'image=s3://b/a,text=s3://b/c')
    """
    return _PARTS.sub(r"\1\2\3", name) if "://" in name else name


def plain_in(text: str) -> str:
    """A sentence with `plain` of every word in it."""
    return re.sub(r"\S+://\S+", lambda word: plain(word[0]), text)


def check_address(address: str, *, has_sum: bool = False) -> None:
    """Refuse what is fetched by anything but https; by http where its sha256 is known, or from this machine itself.

    Examples
    --------
    >>> check_address("https://example.org/a.zip"), check_address("http://127.0.0.1:8000/a.zip")
    (None, None)
    >>> check_address("http://example.org/a.zip")
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.InputError: http://example.org/a.zip: by http anybody on the way can send another file, \
and its sha256 is not known: name an https address
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{plain(address)} is not an http or https address")
    if parts.scheme == "http" and not has_sum and not _is_this_machine(parts.hostname):
        raise InputError(
            f"{plain(address)}: by http anybody on the way can send another file, and its sha256 is not known: "
            "name an https address"
        )


def open_address(request: urllib.request.Request, *, timeout: float, has_sum: bool = False) -> HTTPResponse:
    """The answer of an address that was checked; it leads on to none that would be refused, nor from https to http.

    Raises
    ------
    InputError
        If it is refused, or leads to one that is.
    urllib.error.URLError
        If there is no answer.
    """
    check_address(request.full_url, has_sum=has_sum)
    answer: HTTPResponse = urllib.request.build_opener(_Careful(has_sum)).open(request, timeout=timeout)
    return answer


class _Careful(urllib.request.HTTPRedirectHandler):
    def __init__(self, has_sum: bool) -> None:
        self.has_sum = has_sum

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        try:
            if req.full_url.startswith("https:") and not newurl.startswith("https:"):
                raise InputError(
                    f"{plain(req.full_url)} leads from https to {plain(newurl)}: refused, fetch the file by hand"
                )
            check_address(newurl, has_sum=self.has_sum)
        except ValueError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
