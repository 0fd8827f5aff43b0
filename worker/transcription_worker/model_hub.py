"""Models by name: `<owner>/<model>` on the Hugging Face hub, whose file is `<model>.nemo` as NeMo publishes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transcription_worker.errors import ConfigurationError, RetryableError

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)

ELSEWHERE = "or put the .nemo into an object store or volume and name it with spec.model.uri or spec.model.volume"


def hub_file(name: str) -> str:
    """The name of the model's file in its repository.

    Raises:
        ConfigurationError: the name has no owner (NGC names have none), or is not one.
    """
    if not NAME.fullmatch(name):
        cure = f"write nvidia/{name}" if re.fullmatch(r"[\w.-]+", name) else "write <owner>/<model>"
        raise ConfigurationError(f"The model name {name!r} is not one of the Hugging Face hub; {cure}, {ELSEWHERE}.")
    return f"{name.partition('/')[2]}.nemo"


def repository_folder(name: str) -> str:
    """Where the hub's cache keeps a repository."""
    return f"models--{name.replace('/', '--')}"


def hub_download(name: str, hub_cache: Path) -> Path:
    """The model's file, from the hub's cache where it is current, else from the hub. HF_TOKEN gives access.

    Raises:
        ConfigurationError: no such model, no access, or the hub is switched off and the cache has no copy.
        RetryableError: the hub cannot be reached.
        OSError: the cache cannot be written.
    """
    import huggingface_hub
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    file = hub_file(name)
    disable_progress_bars()
    try:
        return Path(huggingface_hub.hf_hub_download(name, file, cache_dir=hub_cache))
    except errors.GatedRepoError:
        raise ConfigurationError(
            f"The model {name} is only for those who accepted its terms on the hub; set HF_TOKEN of one who did."
        ) from None
    except errors.RepositoryNotFoundError:
        raise ConfigurationError(
            f"The hub has no model {name}, or none for this HF_TOKEN; correct spec.model.name, {ELSEWHERE}."
        ) from None
    except errors.RemoteEntryNotFoundError:
        raise ConfigurationError(f"The model {name} on the hub has no {file}; name one that NeMo made.") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        sentence = f"The model {name} is not in the cache {hub_cache} and the hub cannot be reached"
        if _switched_off():
            raise ConfigurationError(f"{sentence} (HF_HUB_OFFLINE is set); unset it, {ELSEWHERE}.") from None
        raise RetryableError(f"{sentence} ({_cause(error)}); open the way to it, {ELSEWHERE}.") from None
    except errors.HfHubHTTPError as error:
        raise RetryableError(f"The hub refused the model {name} ({_first_line(error)}).") from None


def _switched_off() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _cause(error: BaseException) -> str:
    inner: Any = error.__cause__ or error.__context__ or error
    return _first_line(inner)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
