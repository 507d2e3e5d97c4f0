"""Where weights come from: what a user names, as a file or a folder of this machine."""

import difflib
import os
import re
from pathlib import Path

from .checkpoint_error import CheckpointError
from .downloads import download
from .hub import fetch_from_hub, hub_name_of_timm
from .model_index import url_of_model

WHAT_IS_READ = (
    'only files, folders, hf-hub:ORG/NAME[@REVISION], timm:NAME, mmpretrain::NAME, mmseg::NAME, '
    'torchvision:NAME and http(s) URLs are read'
)
SOURCE = re.compile(r'([A-Za-z][\w.+-]+?)(::|:/{0,2})(.*)', re.DOTALL)


def _from_url(source: str, name: str) -> Path:
    return download(source)


def _from_hub(source: str, name: str) -> Path:
    return fetch_from_hub(source, name)


def _from_timm(source: str, name: str) -> Path:
    return fetch_from_hub(source, hub_name_of_timm(name))


def _from_index(source: str, name: str) -> Path:
    return download(url_of_model(source.partition('::')[0], name))


def _from_torchvision(source: str, name: str) -> Path:
    model = name.removeprefix('//')
    try:
        from torchvision.models import get_model_weights

        known = get_model_weights(model) if model.startswith('vit_') else None
    except ImportError:
        raise ImportError(
            f'{source}: torchvision says where it is: pip install torchvision'
        ) from None
    except ValueError:
        known = None
    if known is None:
        raise CheckpointError(
            f'{source}: torchvision has no such Vision Transformer; it has vit_b_16, vit_b_32, '
            'vit_l_16, vit_l_32 and vit_h_14'
        )
    return download(known.DEFAULT.url)


# What stands before a name, and what turns the whole and the name into a file.
SCHEMES = {
    'http://': _from_url,
    'https://': _from_url,
    'hf-hub:': _from_hub,
    'timm:': _from_timm,
    'mmpretrain::': _from_index,
    'mmseg::': _from_index,
    'torchvision:': _from_torchvision,
    # As mmengine writes it.
    'torchvision://': _from_torchvision,
}
# Words of others for them.
ALSO_CALLED = {
    'hf': 'hf-hub:', 'huggingface': 'hf-hub:', 'hub': 'hf-hub:', 'transformers': 'hf-hub:',
    'mmsegmentation': 'mmseg::', 'mmcls': 'mmpretrain::', 'mmselfsup': 'mmpretrain::',
    'open-mmlab': 'mmpretrain::', 'openmmlab': 'mmpretrain::', 'file': '',
}  # fmt: skip


def locate(source: str | Path) -> Path:
    """The file or folder of this machine that a user names, fetched if it is elsewhere.

    Args:
        source: A file; a folder as Hugging Face writes it; ``hf-hub:org/name[@revision]`` and
            ``timm:name``, from the Hugging Face hub through the cache of ``huggingface_hub``;
            ``mmpretrain::name`` and ``mmseg::name``, a model or a config of their indices;
            ``torchvision:vit_b_16`` and its other Vision Transformers; an http(s) URL, with or
            without ``#sha256=``. ``~`` is the home folder.

    Raises:
        FileNotFoundError: If it is not there, or cannot be fetched.
        CheckpointError: If it is of none of these forms, or not what its checksum says.
        ImportError: If a package is missing that fetches it.
    """
    check_source(source)
    text = str(source)
    match = SOURCE.fullmatch(text)
    if os.path.exists(os.path.expanduser(text)) or match is None:
        return Path(text).expanduser()
    return SCHEMES[match[1] + match[2]](text, match[3])


def check_source(source: str | Path) -> None:
    """Refuse what :func:`locate` cannot find, as far as that is known without a look elsewhere.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        CheckpointError: If it is of no form that is known; the nearest one is told.
    """
    text = str(source)
    # Not of pathlib, which refuses long names.
    if os.path.exists(os.path.expanduser(text)):
        return
    match = SOURCE.fullmatch(text)
    if match is None:
        raise FileNotFoundError(f'{text}: no such checkpoint{_hint(text)}')
    scheme, mark, name = match.groups()
    if scheme + mark not in SCHEMES:
        raise CheckpointError(f'{text}: {_nearest(scheme.lower(), name)}')
    if not name:
        raise CheckpointError(f'{text}: a name must follow; {WHAT_IS_READ}')


def _nearest(scheme: str, name: str) -> str:
    """What was probably meant by a form that is not known."""
    words = {form.rstrip(':/'): form for form in SCHEMES if form != 'torchvision://'} | ALSO_CALLED
    near = difflib.get_close_matches(scheme.replace('_', '-'), words, n=1, cutoff=0.7)
    if near:
        return f'did you mean {words[near[0]]}{name}? {WHAT_IS_READ}'
    return f'{WHAT_IS_READ}; download it, or mount its storage'


def _hint(text: str) -> str:
    """What was probably meant by the name of a file that is not there."""
    path = Path(text).expanduser()
    if path.parent.is_dir():
        near = difflib.get_close_matches(path.name, os.listdir(path.parent), n=1, cutoff=0.8)
        if near:
            return f'; did you mean {path.with_name(near[0])}?'
    if re.fullmatch(r'[\w.-]+/[\w.-]+(@[\w./-]+)?', text) and not path.parent.is_dir():
        return f'; did you mean hf-hub:{text}, of the Hugging Face hub?'
    if re.fullmatch(r'beit\w*(\.\w+)?', text) and path.suffix not in ('.pth', '.pt'):
        return f'; did you mean timm:{text}?'
    return ''
