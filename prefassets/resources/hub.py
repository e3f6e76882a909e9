"""Files of data sets on the Hugging Face hub, fetched once and then read from its cache (`HF_HOME`)."""

from pathlib import Path


class SourceUnreachable(OSError):
    """A released file could not be had."""


def hub_file(dataset: str, name: str, instead: str) -> Path:
    """A path on this machine to a file of a data set.

    Args:
        instead: what to do, on a machine with a network, where this one has none.

    Raises:
        SourceUnreachable: the file is not in the cache, and the hub could not be reached or does not have it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(dataset, name, repo_type="dataset"))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise unreachable(f"{name} of {dataset}", error, instead) from error


def unreachable(what: str, error: Exception, instead: str) -> SourceUnreachable:
    return SourceUnreachable(
        f"{what} could not be downloaded ({type(error).__name__}). On a machine with a network, {instead}."
    )
