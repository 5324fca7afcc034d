"""Models on the Hugging Face hub: headers by range requests, whole files only when a tensor is asked for."""

from __future__ import annotations

from pathlib import Path

from mergelab.errors import Problem, SourceError
from mergelab.weights.files import INDEX, WEIGHTS
from mergelab.weights.header import TensorSpec, parse_header, read_header
from mergelab.weights.source import Source


class Repository:
    """The files of one hub repository, all from the same commit.

    Where the hub cannot be reached, or must not be (``HF_HUB_OFFLINE=1``), models downloaded before still open.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._commit = source.revision
        self._cached: dict[str, Path | None] = {}
        self._reached: bool | Exception = False

    @property
    def commit(self) -> str | None:
        """The commit that the files come from; before one was fetched, the revision that was asked for."""
        return self._commit

    def file(self, name: str) -> Path | None:
        """Local path of a file, downloaded if need be; None where the repository has none of that name.

        Raises:
            SourceError: the repository does not exist or is closed to you, or the hub cannot be reached.
        """
        if name not in self._cached:
            self._cached[name] = self._download(name)
        return self._cached[name]

    def header(self, name: str) -> tuple[dict[str, TensorSpec], list[Problem]]:
        """Specs of a weight file, without downloading it."""
        from huggingface_hub import parse_safetensors_file_metadata

        kept = self.kept(name)
        if kept:
            return read_header(kept)
        try:
            self._reach()
            found = parse_safetensors_file_metadata(self.source.path, name, revision=self._commit)
        except Exception as error:
            raise self._explain(error) from error
        header = {
            key: {"dtype": info.dtype, "shape": info.shape, "data_offsets": info.data_offsets}
            for key, info in found.tensors.items()
        }
        end = max((info.data_offsets[1] for info in found.tensors.values()), default=0)
        return parse_header(header, name, end, f"{self.source}/{name}")

    def has(self, name: str) -> bool:
        """Whether the repository has a file of that name; nothing is downloaded."""
        from huggingface_hub import file_exists

        if self.kept(name):
            return True
        try:
            self._reach()
            return file_exists(self.source.path, name, revision=self._commit)
        except Exception as error:
            raise self._explain(error) from error

    def weights(self) -> str | None:
        """Name of the file that holds all weights, None where an index or nothing does."""
        if self.kept(INDEX) and not self.kept(WEIGHTS):
            return None
        return WEIGHTS if self.has(WEIGHTS) else None

    def kept(self, name: str) -> Path | None:
        """A file that was downloaded before, at this commit."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.source.path, name, revision=self._commit)
        return Path(found) if isinstance(found, str) else None

    def fingerprint(self, name: str) -> str | None:
        """The hub's own hash of a file's content, by one request without a body; None where it does not tell."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        try:
            self._reach()
            return get_hf_file_metadata(hf_hub_url(self.source.path, name, revision=self._commit)).etag
        except Exception:  # noqa: BLE001 - to be told is a convenience: who asks says it could not be compared
            return None

    def _download(self, name: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        try:
            kept = self.kept(name)
            try:
                self._reach()
            except Exception:  # proxy, name server, TLS ...: the cache will do, or it is told below
                if not kept:
                    raise
                path = kept
            else:
                path = Path(hf_hub_download(self.source.path, name, revision=self._commit))
        except Exception as error:
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                return None
            # Without a network, what is not in a snapshot that was downloaded before counts as absent.
            if not isinstance(error, HfHubHTTPError) and any(self._cached.values()):
                return None
            raise self._explain(error) from error
        # The cache keeps files at snapshots/<commit>/<name>: every later file comes from that same commit.
        self._commit = path.parents[len(Path(name).parts) - 1].name
        return path

    def _reach(self) -> None:
        """Ask the hub once, briefly, whether it is there.

        Its client tries again for half a minute before it says that there is no network.

        Raises:
            Exception: whatever the client raised, the same again at every later call.
        """
        from huggingface_hub import constants, get_session

        if isinstance(self._reached, Exception):
            raise self._reached
        if not self._reached and not constants.is_offline_mode():
            try:
                get_session().head(constants.ENDPOINT, timeout=5, follow_redirects=False)
            except Exception as error:
                self._reached = error
                raise
            self._reached = True

    def _explain(self, error: Exception) -> SourceError:
        from huggingface_hub import errors

        here = "there is no such folder here, and"
        known: tuple[tuple[type[Exception], str, str], ...] = (
            (errors.GatedRepoError, "is gated.", "Accept its terms on its page, then log in: hf auth login."),
            (errors.RevisionNotFoundError, f"has no revision {self.source.revision!r}.",
             "Name a branch, tag or commit of it."),
            (errors.RepositoryNotFoundError, f"{here} no such model on the hub.",
             "Check the spelling; log in if it is private; a local folder must exist."),
            (errors.HFValidationError, f"{here} no model on the hub can have this name.",
             "Write a folder, or 'org/name' or 'org/name@revision'."),
            (errors.SafetensorsParsingError, "the header of its weights cannot be read.",
             "The file on the hub is damaged: tell its authors, or use another model."),
        )  # fmt: skip
        what = f"{here} the hub cannot be reached ({type(error).__name__})."
        hint = "Go online, or name a local folder, or a model downloaded before."
        refused = _refused(error)
        if refused:
            what = f"the hub refuses it (HTTP {refused})."
            hint = "Log in with an account that may read it: hf auth login."
        what, hint = next(((said, todo) for kind, said, todo in known if isinstance(error, kind)), (what, hint))
        return SourceError(Problem(f"source {str(self.source)!r}", what, hint))


def _refused(error: BaseException | None) -> int | None:
    """The status 401 or 403 behind an error: the client wraps it in one that speaks of the network."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            return int(status)
        error = error.__cause__
    return None
