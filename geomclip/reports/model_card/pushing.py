"""Pushing: a card and its weights to the hub, and of the run folder nothing that was not named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geomclip.encoders import Encoder
from geomclip.encoders.export import write_for_hub
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.machine.words import one_line, option
from geomclip.reports.model_card.public import public, scrubbed
from geomclip.reports.model_card.run import Run, needs_weights

README = "README.md"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Push:
    """Where a card goes on the hub.

    Parameters
    ----------
    repository : str
        ORGANISATION/NAME.
    private : bool
        Of a repository that is made; one that is there stays as it is.
    files : sequence of str
        Of the run folder, besides card, pictures and weights.
    """

    repository: str
    private: bool = False
    files: Sequence[str] = ()

    def check(self, run: Run, *, sends: bool) -> None:
        """InputError or NotAvailableError, before any work, for what could not be pushed."""
        from huggingface_hub import get_token

        if not REPOSITORY.fullmatch(self.repository):
            raise InputError(f"{option('push', self.repository)}: write ORGANISATION/NAME")
        needs_weights(run)
        for name in self.files:
            _named_file(run.folder, name)
        if sends and get_token() is None:
            raise NotAvailableError(
                f"{option('push', self.repository)}: nobody is logged in: hf auth login, or set HF_TOKEN"
            )

    def staged(self, run: Run, card: Path, figures: Sequence[Path], stage: Path) -> list[tuple[str, int]]:
        """Lay what is to be uploaded into a new folder; the files with their sizes."""
        write_for_hub(_without_places(needs_weights(run)), stage)
        shutil.copyfile(card, stage / README)
        for figure in figures:
            shutil.copyfile(figure, stage / figure.name)
        for name in self.files:
            if (stage / name).exists():
                raise InputError(f"{option('include', name)}: something of this name is uploaded already")
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_named_file(run.folder, name), stage / name)
        return [
            (str(file.relative_to(stage)), file.stat().st_size) for file in sorted(stage.rglob("*")) if file.is_file()
        ]

    def upload(self, stage: Path) -> str:
        """Make the repository if it is not there, upload the folder in one commit, and give its address.

        Raises
        ------
        NotAvailableError
            If the hub refuses or cannot be reached.
        """
        from huggingface_hub import HfApi

        api = HfApi()
        made = self._asked(lambda: api.create_repo(self.repository, private=self.private or None, exist_ok=True))
        self._asked(
            lambda: api.upload_folder(
                repo_id=self.repository, folder_path=stage, commit_message="Upload weights and card"
            )
        )
        return str(made)

    def _asked(self, request: Callable[[], object]) -> object:
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            return request()
        except (GeomclipError, KeyboardInterrupt):
            raise
        except OfflineModeIsEnabled:
            reason = "HF_HUB_OFFLINE is set"
        except HfHubHTTPError as error:
            status = getattr(error.response, "status_code", None)
            known = {401: "it knows no such token: hf auth login", 403: "the token may not write there"}
            reason = known.get(status or 0) or one_line(error, 160)
        except Exception as error:  # httpx's, requests' and OSError: all mean that nothing was uploaded
            first: BaseException = error
            while first.__cause__ is not None:
                first = first.__cause__
            reason = f"{type(first).__name__}: {one_line(first, 120)}"
        raise NotAvailableError(f"{self.repository}: the hub took nothing ({reason})")


def _named_file(folder: Path, name: str) -> Path:
    file = folder / name
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    if not inside or file.is_symlink() or not file.is_file():
        what = "is no file of" if inside else "is outside"
        raise InputError(f"{option('include', name)} {what} the run folder {folder}")
    return file


def _without_places(encoder: Encoder) -> Encoder:
    """The encoder, saying no folder of this machine where it says what it was made from."""
    return replace(
        encoder, model=public(encoder.model), tokenizer_source="", finetuned=scrubbed(dict(encoder.finetuned))
    )
