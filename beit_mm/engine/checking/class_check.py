"""Classes: those of the folders, of the lists of labels, and of the heads."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...component import Component, Note, in_a_line, innermost
from ...datasets.class_numbers import some_of
from ...datasets.finding import has_photo, is_folder, is_hidden
from ...datasets.sources.list_lines import list_lines
from .data_check import kind_of, place_in_root

# Data sets whose classes are the folders that images lie in.
OF_FOLDERS = ('CustomDataset', 'PhotoFolder', 'ImageNet', 'ImageNet21k')
# Of files that MMPretrain's own data sets take for images.
ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')


def class_folders(dataset: Mapping) -> tuple[Path, list[str]] | None:
    """(folder, names of its class folders) of a data set whose labels follow from them."""
    kind = kind_of(dataset)
    if kind not in OF_FOLDERS or dataset.get('ann_file') or dataset.get('with_label') is False:
        return None
    _, prefix = place_in_root(dataset)
    if not isinstance(prefix, str) or '://' in str(dataset.get('data_root')):
        return None
    root = Path(dataset.get('data_root') or '')
    folder = root / prefix
    # MMPretrain's ImageNet takes the list of a split where there is one.
    listed = kind.startswith('ImageNet') and (root / 'meta' / f'{prefix}.txt').is_file()
    if listed or not folder.is_dir():
        return None
    names = sorted(entry.name for entry in os.scandir(folder) if is_folder(entry))
    return folder, [n for n in names if not is_hidden(n)] if _finds(dataset) else names


def _finds(dataset: Mapping) -> bool:
    """Whether this project finds the images, or MMPretrain does."""
    return kind_of(dataset) == 'PhotoFolder' and 'extensions' not in dataset


def check_classes_of(loaders: Mapping[str, Mapping], model: Component) -> Iterator[str]:
    """Class folders of training and validation are the same, and the head has room for them.

    Args:
        loaders: Name of each data loader that is used -> its settings.
        model: The model.
    """
    head = model.part('head')
    wanted = head.get('num_classes')
    # One label that is there or not is another matter.
    yes_or_no = 'MultiLabel' in str(head.given.get('type')) or head.part('loss').get('use_sigmoid')
    if wanted == 1 and head.given.get('type') and not yes_or_no:
        yield f'{head.key}.num_classes is 1: with one class there is nothing to learn'
    found: dict[str, tuple[Path, list[str]]] = {}
    for name, loader in loaders.items():
        for key, dataset in innermost(f'{name}.dataset', loader.get('dataset') or {}):
            folders = class_folders(dataset)
            if folders is not None and not folders[1]:
                yield (
                    f'{key}: {folders[0]} has no class folders; images lie in '
                    f'{folders[0]}/<class>/, and without labels it takes with_label=False'
                )
            elif folders is not None:
                found.setdefault(name, folders)
                if name == 'train_dataloader':
                    endings = tuple(dataset.get('extensions') or ENDINGS)
                    yield from _check_empty(key, *folders, None if _finds(dataset) else endings)
                yield from _check_number(key, len(folders[1]), head)
            elif kind_of(dataset) == 'MultiLabelDataset':
                yield from _check_several(key, dataset, head)
            elif kind_of(dataset) in OF_FOLDERS and dataset.get('with_label') is not False:
                yield from _check_labels(key, dataset, head)
    yield from _check_same(found)


def _check_same(found: Mapping[str, tuple[Path, list[str]]]) -> Iterator[str]:
    """A class that one side lacks shifts the labels of all that come after it."""
    if not {'train_dataloader', 'val_dataloader'} <= found.keys():
        return
    (train, ours), (val, theirs) = found['train_dataloader'], found['val_dataloader']
    if ours == theirs:
        return
    parts = [
        f'{folder} lacks {some_of(sorted(set(all_) - set(there)))}'
        for folder, there, all_ in ((val, theirs, ours), (train, ours, theirs))
        if set(all_) - set(there)
    ]
    yield (
        f'val_dataloader.dataset: {" and ".join(parts)}; labels are the numbers of the class '
        'folders, so both sides must have the same ones'
    )


def _check_empty(
    key: str, folder: Path, names: list[str], endings: tuple[str, ...] | None
) -> Iterator[str]:
    empty = [name for name in names if not _has_image(folder / name, endings)]
    if empty:
        yield (
            f'{key}: {folder} has no image of {some_of(empty)}, which counts as a class; put '
            'images there or remove the folder on both sides'
        )


def _has_image(folder: Path, endings: tuple[str, ...] | None) -> bool:
    if endings is None:
        return has_photo(folder)
    return any(
        name.lower().endswith(endings)
        for _, _, names in os.walk(folder, followlinks=True)
        for name in names
    )


def _check_number(key: str, there: int, head: Component) -> Iterator[str]:
    wanted = head.get('num_classes')
    if not isinstance(wanted, int) or wanted == there or wanted == 1:
        return
    said = f'{head.key}.num_classes is {wanted}, and {key} has {there} classes'
    if there > wanted:
        yield f'{said}; set --cfg-options {head.key}.num_classes={there}'
    else:
        yield Note(f'{said}: {wanted - there} will never be seen.')


def _check_labels(key: str, dataset: Mapping, head: Component) -> Iterator[str]:
    """The numbers at the ends of the lines of a list are labels of the head."""
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    wanted = head.get('num_classes')
    if not isinstance(wanted, int) or path.suffix != '.txt' or not path.is_file():
        return
    largest = -1
    for number, line in list_lines(path):
        label = line.strip().rpartition(' ')[2]
        if not label.isdigit():
            yield (
                f'{key}.ann_file: line {number} of {path} is {line.strip()!r}; a line '
                'is a file and the number of its class'
            )
            return
        largest = max(largest, int(label))
    if largest >= wanted:
        yield (
            f'{head.key}.num_classes is {wanted}, and {path} has the label {largest}; labels are 0 '
            f'to {wanted - 1}'
        )


def _check_several(key: str, dataset: Mapping, head: Component) -> Iterator[str]:
    """Lists of images with several labels are of the head's classes, and the head is of several."""
    kind, wanted = str(head.given.get('type')), head.get('num_classes')
    if head.given.get('type') and 'MultiLabel' not in kind and 'CSRA' not in kind:
        yield (
            f'{head.key}.type is {kind}, which learns one label an image, and {key} has several; '
            "set it to 'MultiLabelLinearClsHead', and val_evaluator to "
            "dict(type='AveragePrecision')"
        )
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if not isinstance(wanted, int) or path.suffix != '.json' or not path.is_file():
        return
    try:
        known = json.loads(path.read_text(encoding='utf-8'))
        rows = [row['gt_label'] for row in known['data_list']]
        largest = max((max(labels, default=-1) for labels in rows), default=-1)
    except (ValueError, KeyError, TypeError) as error:
        yield (
            f'{key}.ann_file: {path} is no list of images with labels: it must be '
            f'{{"metainfo": {{"classes": [...]}}, "data_list": [{{"img_path": ..., "gt_label": '
            f'[0, 2]}}]}} ({in_a_line(error)})'
        )
        return
    names = (dataset.get('metainfo') or known.get('metainfo') or {}).get('classes')
    if names is not None:
        yield from _check_number(key, len(names), head)
    if largest >= wanted:
        yield (
            f'{head.key}.num_classes is {wanted}, and {path} has the label {largest}; labels are 0 '
            f'to {wanted - 1}'
        )
