"""Models on the Hugging Face Hub: a local copy of a repository, downloaded once and kept in the library's cache."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from .errors import InteropError

_SAFE = "model*.safetensors"
_TEXTS = ("*.json", "*.jinja", "merges.txt", "tokenizer.model")


def is_hub_id(source: str) -> bool:
    """Whether ``source`` has the form of a model's name on the Hub.

    >>> is_hub_id("HuggingFaceTB/SmolLM2-135M"), is_hub_id("models/mine/7b"), is_hub_id("./mine")
    (True, False, False)
    """
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source) is not None


def fetch_model(repository: str, revision: str | None = None) -> Path:
    """A folder with config, tokenizer and weights of a model on the Hub; pickled weights only where it has no others.

    Where the Hub can't be reached, what was fetched before.

    Raises:
        InteropError: huggingface_hub is missing, the Hub can't be reached, or has no such model.
    """
    try:
        from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HTTPError
    except ModuleNotFoundError as error:
        raise InteropError("models from the Hugging Face Hub need huggingface_hub: pip install huggingface_hub") from error
    try:
        # Where nothing answers (a firewall), a download tries for minutes: this asks once, for ten seconds.
        with suppress(HfHubHTTPError):
            get_hf_file_metadata(hf_hub_url(repository, "config.json", revision=revision))
        patterns = _wanted(repository, HfApi().list_repo_files(repository, revision=revision))
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except InteropError:
        raise
    except (OSError, ValueError, HTTPError) as error:  # all of the library's look-up, data and network errors
        with suppress(OSError, ValueError):
            kept = snapshot_download(repository, revision=revision, allow_patterns=[*_TEXTS, _SAFE], local_files_only=True)
            return Path(kept)
        cause = error.__cause__ or error
        reason = next(iter(str(cause).splitlines()), "no more is said")
        raise InteropError(
            f"can't fetch {repository} from the Hugging Face Hub ({type(cause).__name__}: {reason}): check the name and the "
            "connection (for a model with conditions, set HF_TOKEN), or give a folder or a GGUF file on this machine"
        ) from error


def _wanted(repository: str, files: list[str]) -> list[str]:
    """Patterns of the files to fetch."""
    if "config.json" not in files:
        ggufs = [file for file in files if file.endswith(".gguf")]
        advice = f"; download one of its GGUF files ({', '.join(ggufs[:3])}) and import that" if ggufs else ""
        raise InteropError(f"{repository} on the Hugging Face Hub holds no config.json{advice}")
    safe = any(re.fullmatch(r"model.*\.safetensors", file) for file in files)
    return [*_TEXTS, _SAFE if safe else "pytorch_model*.bin"]
