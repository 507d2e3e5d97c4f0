"""The models that MMPretrain and MMSegmentation list, with the URLs of their weights."""

import difflib
import importlib.util
import re
from pathlib import Path

import mmengine

from .checkpoint_error import CheckpointError

# Which distribution brings which package.
INSTALLS = dict(
    mmpretrain='onedl-mmpretrain (or mmpretrain==1.2.0)',
    mmseg='onedl-mmsegmentation (or mmsegmentation==1.2.2)',
)


def url_of_model(package: str, name: str) -> str:
    """The URL of a model's weights.

    Args:
        package: 'mmpretrain' or 'mmseg'.
        name: A model of its index, or the config of one, with or without folders and ``.py``.

    Raises:
        ImportError: If the package is missing.
        CheckpointError: If it lists no such model, or one without weights.
    """
    files = _files_of_index(package)
    wanted = name.removeprefix('configs/').removesuffix('.py')
    texts = {file: file.read_text(encoding='utf-8') for file in files if file.is_file()}
    stem = wanted.rpartition('/')[2]
    for file, text in texts.items():
        # All of them take seconds.
        if stem not in text:
            continue
        for model in mmengine.load(file).get('Models') or []:
            if wanted not in _names_of(model):
                continue
            if not model.get('Weights'):
                raise CheckpointError(
                    f'{package}::{name}: {package} lists no weights of this model'
                )
            return model['Weights']
    known = {n for text in texts.values() for n in re.findall(r'^\s*-?\s*Name: *(\S+)', text, re.M)}
    near = ', '.join(difflib.get_close_matches(stem, sorted(known), n=3, cutoff=0.5)) or 'none'
    raise CheckpointError(f'{package}::{name}: {package} lists no such model; near ones are {near}')


def _files_of_index(package: str) -> list[Path]:
    """The files that an installed package lists its models in."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(
            f'{package}::... needs the package {package}: pip install {INSTALLS[package]}'
        )
    folder = Path(spec.origin).parent
    # Installed from a clone the index lies beside the package.
    for index in (folder / '.mim/model-index.yml', folder.parent / 'model-index.yml'):
        if index.is_file():
            return [index.parent / file for file in mmengine.load(index)['Import']]
    raise CheckpointError(
        f'{package}::...: {package} is installed without its list of models, .mim/model-index.yml'
    )


def _names_of(model: dict) -> set[str]:
    """What a model of an index may be called."""
    config = (model.get('Config') or '').removeprefix('configs/').removesuffix('.py')
    return {model.get('Name') or '', config, config.rpartition('/')[2]} - {''}
