"""Weights on the Hugging Face hub, through the cache of ``huggingface_hub``."""

import difflib
import importlib.util
from pathlib import Path

from .checkpoint_error import CheckpointError
from .folders import CONFIG, INDEX_ENDING, PREPROCESSOR, WEIGHT_FILES, parts_of


def fetch_from_hub(source: str, name: str) -> Path:
    """The weights of a model on the Hugging Face hub, fetched unless they are in the cache.

    Args:
        source: What the user wrote, for messages.
        name: ``org/name``, or ``org/name@revision``: a branch, a tag or a commit.

    Returns:
        A file of the cache, or an index of several; what the model has of a config lies beside it.

    Raises:
        ImportError: If ``huggingface_hub`` is missing.
        FileNotFoundError: If there is no such model, or it has no weights, or it is not in the
            cache and the hub cannot be reached or must not (``HF_HUB_OFFLINE``).
        CheckpointError: If ``name`` is no name of a model.
    """
    model = _Model(source, *name.partition('@')[::2])
    path = next(filter(None, map(model.fetch, WEIGHT_FILES)), None)
    if path is None:
        raise FileNotFoundError(model.why_there_is_nothing())
    model.fetch(CONFIG)
    model.fetch(PREPROCESSOR)
    if path.name.endswith(INDEX_ENDING):
        for part in parts_of(path):
            if model.fetch(part) is None:
                raise FileNotFoundError(f'{source} lacks {part}, which its {path.name} names')
    return path


class _Model:
    """A model on the hub, file by file."""

    def __init__(self, source: str, repo: str, revision: str) -> None:
        self.source, self.repo, self.revision = source, repo, revision
        # Once the hub was not reached only the cache is asked: each try may take a minute.
        self.reached = True

    def fetch(self, file: str) -> Path | None:
        """A file of the cache, fetched if it must be; None if there is none."""
        try:
            from huggingface_hub import hf_hub_download, utils
        except ImportError as error:
            raise ImportError(
                f"{self.source} takes huggingface_hub ({error}): pip install 'beit-mm[hub]'"
            ) from error
        try:
            return Path(
                hf_hub_download(
                    self.repo,
                    file,
                    revision=self.revision or None,
                    local_files_only=not self.reached,
                )
            )
        except utils.LocalEntryNotFoundError:
            self.reached = False
            return None
        except utils.EntryNotFoundError:
            return None
        except utils.HFValidationError:
            raise CheckpointError(
                f'{self.source}: {self.repo!r} is no name of the hub, which are ORG/NAME'
            ) from None
        except utils.RevisionNotFoundError:
            raise FileNotFoundError(
                f'{self.source}: {self.repo} has no revision {self.revision!r}'
            ) from None
        except utils.RepositoryNotFoundError:
            raise FileNotFoundError(
                f'{self.source}: the Hugging Face hub has no model {self.repo!r} for you; if it is '
                'private or asks for consent, log in by `hf auth login`'
            ) from None
        except Exception as error:
            first = str(error).partition('\n')[0]
            raise FileNotFoundError(f'{self.source} could not be downloaded: {first}') from error

    def why_there_is_nothing(self) -> str:
        """A line for a model none of whose files was found."""
        if self.reached:
            return f'{self.source} has no weights there: none of {", ".join(WEIGHT_FILES)}'
        from huggingface_hub import constants

        why = ', as HF_HUB_OFFLINE says' if constants.HF_HUB_OFFLINE else ''
        return (
            f'{self.source} is not in the cache {constants.HF_HUB_CACHE}, and the Hugging Face hub '
            f'was not reached{why}'
        )


def hub_name_of_timm(name: str) -> str:
    """Where the hub has a model of timm, as timm says; without timm installed, by its name.

    Raises:
        CheckpointError: If timm knows no such model.
    """
    if importlib.util.find_spec('timm') is None:
        return f'timm/{name}'
    import timm

    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        # The model is there, and not with this tag.
        config = None
    if config is None or not config.hf_hub_id:
        known = timm.list_pretrained() + timm.list_models()
        near = ', '.join(difflib.get_close_matches(name, known, n=3, cutoff=0.5)) or 'none'
        raise CheckpointError(
            f'timm:{name}: timm {timm.__version__} has no weights of that name, near ones are '
            f'{near}; a newer one on the hub is hf-hub:timm/{name}'
        )
    return config.hf_hub_id
