"""What data sets and tasks of MMPretrain and MMSegmentation need, as far as a config tells."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.fileio import list_dir_or_file

from ...checkpoints import CheckpointError, check_source
from ...component import NOT_SETTINGS, Component, innermost
from ...datasets.sources.stores import join
from .mask_check import check_masks

# Data sets of this project's that lists make, whose settings mean other things.
LISTS = ('HubPhotos', 'PhotoLMDB', 'PhotoTable')
# Those with a folder for each split; to CIFAR10, CUB and VOC it is a name in their own files.
OF_SPLITS = ('ImageNet', 'ImageNet21k')
# Packages whose data sets have images in the folder data_root; one's own may mean a file by it.
OF_FOLDERS = ('beit_mm', 'mmengine', 'mmpretrain', 'mmseg')

# What a data set of MMSegmentation's does with the labels of its annotations.
OF_LABELS = ('ignore_index', 'label_map', 'reduce_zero_label')


def kind_of(dataset: Mapping) -> str:
    """Type of a data set without its scope."""
    return str(dataset.get('type')).rpartition('.')[2]


def place_in_root(dataset: Mapping) -> tuple[str, Any]:
    """Which setting says where in ``data_root`` the images are, and what it says.

    >>> place_in_root(dict(type='ImageNet', split='val'))
    ('split', 'val')
    >>> place_in_root(dict(type='CUB', split='test'))
    ('data_prefix', '')
    """
    prefix = dataset.get('data_prefix')
    if not prefix and kind_of(dataset) in OF_SPLITS:
        return 'split', dataset.get('split') or ''
    return 'data_prefix', prefix or ''


def check_data(name: str, dataset: Mapping, model: Component) -> Iterator[str]:
    """The folders and annotations of a data loader's data sets are there.

    Args:
        name: Of the data loader.
        dataset: Its data set, which may hold others.
        model: Whose heads tell how many classes annotations may have.
    """
    for key, inner in innermost(f'{name}.dataset', dataset):
        yield from _check_one(key, inner, model)


def _check_one(where: str, dataset: Mapping, model: Component) -> Iterator[str]:
    kind, component = kind_of(dataset), Component(where, dataset, model.find)
    if kind in LISTS:
        yield from _check_list(where, kind, dataset)
        return
    setting, prefix = place_in_root(dataset)
    if isinstance(prefix, Mapping) and 'seg_map_path' in prefix:
        yield from _check_annotations(component, model)
        return
    if component.package not in OF_FOLDERS or component.get('download'):
        return
    folder = dataset.get('data_root') or ''
    key = f'{where}.data_root'
    if isinstance(prefix, str) and prefix:
        folder, key = str(Path(folder, prefix)), f'{key}/{setting}'
    # A shard, or a pattern of shards.
    is_folder = not folder.endswith('.tar')
    # Others look for a folder called ~.
    home = os.path.expanduser if kind == 'PhotoShards' else str
    if folder and '://' not in folder and is_folder and not Path(home(folder)).is_dir():
        yield (
            f'{key} is {folder!r}, and there is no such folder; put the images there or set '
            f'--cfg-options {where}.data_root=...'
        )
    annotations = dataset.get('ann_file') or ''
    path = Path(home(dataset.get('data_root') or ''), home(annotations))
    if annotations and '://' not in str(path) and not path.is_file():
        yield f'{where}.ann_file is {str(path)!r}, and there is no such file'


def _check_list(where: str, kind: str, dataset: Mapping) -> Iterator[str]:
    """The list, or the database, is there; a hub's data set is looked for when it is opened."""
    root, listed = str(dataset.get('data_root') or ''), str(dataset.get('ann_file') or '')
    files = dict(ann_file=join(root, listed) if kind == 'PhotoTable' else listed)
    if kind == 'PhotoLMDB':
        files['data_root'] = root
    for key, path in files.items():
        path = os.path.expanduser(path)
        # A pattern may stand for several.
        if path and '://' not in path and not (os.path.exists(path) or glob.glob(path)):
            yield f'{where}.{key} is {path!r}, and there is no such file'


def _check_annotations(component: Component, model: Component) -> Iterator[str]:
    """Every photo of a segmentation data set has an annotation, and some of those are looked at."""
    where, given = component.key, component.given
    folders = {}
    for kind in ('img_path', 'seg_map_path'):
        folders[kind] = Path(given.get('data_root') or '', given['data_prefix'].get(kind) or '')
        if '://' in str(folders[kind]) or given.get('ann_file'):
            return
        if not folders[kind].is_dir():
            yield (
                f'{where}.data_prefix.{kind} is {str(folders[kind])!r}, and there is no such '
                f'folder; set --cfg-options {where}.data_root=...'
            )
            return
    dataset = _without_samples(component)
    if dataset is None:
        return
    # As the data set lists them: linked folders are gone into, hidden files left out.
    suffixes = dataset.img_suffix, dataset.seg_map_suffix
    photos, annotations = (
        {
            name.removesuffix(suffix)
            for name in list_dir_or_file(folder, list_dir=False, suffix=suffix, recursive=True)
        }
        for folder, suffix in zip(folders.values(), suffixes, strict=True)
    )
    folder, annotations_folder = folders.values()
    if not photos:
        yield (
            f'{where}.data_prefix.img_path is {str(folder)!r}, which holds no *{suffixes[0]}; '
            'img_suffix of the dataset says how photos are named'
        )
        return
    missing = sorted(photos - annotations)
    if missing:
        path = annotations_folder / f'{missing[0]}{suffixes[1]}'
        more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
        yield (
            f'{where}: {folder / missing[0]}{suffixes[0]} has no annotation; '
            f'{path}{more} must be there, or the photo must not'
        )
        return
    num_classes = model.part('decode_head').given.get('num_classes')
    if isinstance(num_classes, int) and where.startswith('train_dataloader'):
        paths = [annotations_folder / f'{name}{suffixes[1]}' for name in photos]
        own = {name: getattr(dataset, name) for name in OF_LABELS}
        labelled = Component(where, {**given, **own}, model.find)
        yield from check_masks(labelled, sorted(paths), num_classes)


def _without_samples(component: Component) -> Any:
    """A data set of MMSegmentation's kind that has not listed its files.

    Endings and what becomes of labels are in the constructor of its class, where a signature does
    not tell: ``super().__init__(img_suffix='.tif', **kwargs)``.

    Returns:
        None if it lists its files in a way of its own, or cannot be built, which the run will say.
    """
    settings = {name: value for name, value in component.given.items() if name not in NOT_SETTINGS}
    try:
        dataset = component.kind(**{**settings, 'pipeline': [], 'lazy_init': True})
    except Exception:
        return None
    owner = next((c for c in type(dataset).__mro__ if 'load_data_list' in vars(c)), None)
    return dataset if getattr(owner, '__name__', '') == 'BaseSegDataset' else None


def check_pretrained(model: Component, components: Iterable[tuple[str, Mapping]]) -> Iterator[str]:
    """The checkpoints that parts of the model start from are there.

    Args:
        model: As a whole.
        components: Key and settings of all of its parts.
    """
    owners = {}
    for key, component in components:
        owners[key] = Component(key, component, model.find)
        if component['type'] != 'Pretrained':
            continue
        checkpoint = component.get('checkpoint') or ''
        owner = owners.get(key.rpartition('.init_cfg')[0])
        # Such as open-mmlab://resnet50, which mmengine reads for the parts of others.
        if '://' in checkpoint and owner is not None and owner.package != 'beit_mm':
            continue
        try:
            check_source(checkpoint)
        except (CheckpointError, FileNotFoundError) as error:
            yield f'{key}.checkpoint: {error}'
    weights = model.given.get('pretrained')
    # A classifier of MMPretrain's takes its own weights there, as of its init_cfg.
    bases = getattr(model.kind, '__mro__', ())
    segments = any(base.__module__.partition('.')[0] == 'mmseg' for base in bases)
    if weights and segments and model.part('backbone').package == 'beit_mm':
        yield (
            f'{model.key}.pretrained is {weights!r}, which MMSegmentation hands on to backbones of '
            f'its own; set {model.key}.pretrained=None and {model.key}.backbone.init_cfg to '
            f"dict(type='Pretrained', checkpoint={weights!r})"
        )


def check_classes(model: Mapping, preprocessor: Mapping | None) -> Iterator[str]:
    """Mixup and CutMix make labels as long as the classifier's answer.

    Args:
        model: The classifier.
        preprocessor: The config's own, which the Runner gives to a model without one.
    """
    if not (model.get('train_cfg') or {}).get('augments'):
        return
    wanted = model.get('head', {}).get('num_classes')
    key = 'model.data_preprocessor' if model.get('data_preprocessor') else 'data_preprocessor'
    given = (model.get('data_preprocessor') or preprocessor or {}).get('num_classes')
    if given != wanted:
        yield (
            f'{key}.num_classes is {given}; it must be model.head.num_classes, '
            f'{wanted}, which Mixup and CutMix make labels for'
        )
