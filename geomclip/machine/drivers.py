"""Drivers of addresses: what fsspec has for s3://, gs://, az:// and others, imported when one is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.extras import optional
from geomclip.machine.words import nearest, one_line

EXTRA = "remote"
OWN_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "adl": "adlfs"}
IN_EXTRA = {"s3": "s3fs", "s3a": "s3fs"}
_LOCAL = ("file", "local", "asynclocal", "root")
_OF_OTHERS = (
    *("dir", "zip", "tar", "libarchive", "reference", "cached", "blockcache", "filecache", "simplecache", "generic"),
    *("data", "asyncwrapper", "async_wrapper", "pyscript"),
)
_UNGUARDED = ("ftp", "webhdfs", "jupyter", "jlab", "dask", "git", "gist", "github", "webdav", "dvc", "wandb")


def driver_of(scheme: str, shown: str) -> Callable[[str], tuple[Any, str]]:
    """A function from an address to the file system that it is of, and its path there.

    Parameters
    ----------
    scheme : str
        What stands before '://', in small letters.
    shown : str
        The address as messages have it.

    Raises
    ------
    InputError
        If no driver reads such addresses, or it does not say that what comes is what was asked for.
    NotAvailableError
        If the driver, or fsspec, is not installed.
    """
    for names, reason in (
        (_LOCAL, "name the path, without what stands before it"),
        (_OF_OTHERS, "it leads to other files: name the file itself"),
        (_UNGUARDED, "nothing guards what comes that way: name an https address"),
    ):
        if scheme in names:
            raise InputError(f"{shown}: {scheme}:// is not read: {reason}")
    fsspec = optional("fsspec", f"{scheme}://", EXTRA)
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as missing:
        raise NotAvailableError(f"{shown}: {_way_to(scheme, missing)}") from missing
    except ValueError as problem:
        known = ("https", *IN_EXTRA, *OWN_PACKAGES, *fsspec.available_protocols())
        close = nearest(scheme, known)
        raise InputError(f"{shown}: nothing reads {scheme}://{close or '; https:// and s3:// are read'}") from problem
    # an instance of its own: what others listed before is not what is there now
    return lambda address: fsspec.url_to_fs(address, skip_instance_cache=True)


def _way_to(scheme: str, missing: ImportError) -> str:
    if scheme in IN_EXTRA:
        return f"{scheme}:// needs {IN_EXTRA[scheme]}: pip install 'geomclip[{EXTRA}]'"
    if scheme in OWN_PACKAGES:
        return f"{scheme}:// needs {OWN_PACKAGES[scheme]}: pip install {OWN_PACKAGES[scheme]}"
    return f"{scheme}:// needs a package that is not installed: {one_line(missing, 200)}"
