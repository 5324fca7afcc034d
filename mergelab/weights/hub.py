"""Models on the Hugging Face hub: headers by range requests, whole files only when a tensor is asked for."""

from __future__ import annotations

from pathlib import Path

from mergelab.errors import Problem, SourceError
from mergelab.weights.header import TensorSpec, parse_header, read_header
from mergelab.weights.source import Source


class Repository:
    """The files of one hub repository, all from the same commit.

    What is already in the hub cache is used without asking the network; ``HF_HUB_OFFLINE=1`` therefore works for models
    downloaded before.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._commit = source.revision
        self._cached: dict[str, Path | None] = {}
        self._reached = False

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
        from huggingface_hub import parse_safetensors_file_metadata, try_to_load_from_cache

        cached = try_to_load_from_cache(self.source.path, name, revision=self._commit)
        if isinstance(cached, str):
            return read_header(Path(cached))
        try:
            found = parse_safetensors_file_metadata(self.source.path, name, revision=self._commit)
        except Exception as error:
            raise self._explain(error) from error
        header = {
            key: {"dtype": info.dtype, "shape": info.shape, "data_offsets": info.data_offsets}
            for key, info in found.tensors.items()
        }
        end = max((info.data_offsets[1] for info in found.tensors.values()), default=0)
        return parse_header(header, name, end, f"{self.source}/{name}")

    def weights(self) -> str | None:
        """Name of the single weight file when there is no index."""
        from huggingface_hub import file_exists, try_to_load_from_cache

        name = "model.safetensors"
        if isinstance(try_to_load_from_cache(self.source.path, name, revision=self._commit), str):
            return name
        try:
            return name if file_exists(self.source.path, name, revision=self._commit) else None
        except Exception as error:
            raise self._explain(error) from error

    def _download(self, name: str) -> Path | None:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        try:
            if not isinstance(try_to_load_from_cache(self.source.path, name, revision=self._commit), str):
                self._reach()
            path = Path(hf_hub_download(self.source.path, name, revision=self._commit))
        except Exception as error:
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                return None
            # Without a network, what is not in a snapshot that was downloaded before counts as absent.
            if not isinstance(error, HfHubHTTPError) and self._cached.get("config.json") is not None:
                return None
            raise self._explain(error) from error
        # The cache keeps files at snapshots/<commit>/<name>: every later file comes from that same commit.
        self._commit = path.parents[len(Path(name).parts) - 1].name
        return path

    def _reach(self) -> None:
        """Ask the hub once, briefly.

        Its client tries again for half a minute before it says that there is no network.
        """
        from huggingface_hub import constants, get_session

        if not self._reached and not constants.is_offline_mode():
            get_session().head(constants.ENDPOINT, timeout=5, follow_redirects=False)
            self._reached = True

    def _explain(self, error: Exception) -> SourceError:
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        where = f"source {str(self.source)!r}"
        if isinstance(error, GatedRepoError):
            return SourceError(Problem(where, "is gated.", "Accept its terms on its page, then log in: hf auth login."))
        if isinstance(error, RevisionNotFoundError):
            return SourceError(
                Problem(where, f"has no revision {self.source.revision!r}.", "Name a branch, tag or commit of it.")
            )
        if isinstance(error, RepositoryNotFoundError):
            hint = "Check the spelling; log in if it is private; a local folder must exist."
            return SourceError(Problem(where, "there is no such folder here, and no such model on the hub.", hint))
        return SourceError(
            Problem(where, f"there is no such folder here, and the hub cannot be reached ({type(error).__name__}).",
                    "Go online, or name a local folder, or a model downloaded before.")
        )  # fmt: skip
