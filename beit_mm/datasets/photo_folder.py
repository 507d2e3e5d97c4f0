"""Photos of a folder, without those that a list leaves out."""

import logging
import os

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ..registry import DATASETS
from .reading.known_formats import image_endings
from .reading.opening import split_frame
from .sources.folder_index import INDEX_DIR
from .sources.list_lines import list_lines


def read_excluded(path: str) -> set[str]:
    """Files that a list of ``tools/check_images.py`` names: one a line, up to the first tab.

    Raises:
        ValueError: If a line is no path inside the folder that the list is of.
    """
    excluded = set()
    for number, line in list_lines(path):
        name = line.partition('\t')[0]
        if not name or name.startswith('/') or '..' in name.split('/'):
            raise ValueError(
                f'{path}, line {number}: {name!r} is no path inside the folder; the list is '
                'one that tools/check_images.py writes'
            )
        excluded.add(name)
    return excluded


@DATASETS.register_module(name='PhotoFolder')
def photo_folder(exclude: str = '', index_dir: str | None = INDEX_DIR, **settings) -> BaseDataset:
    """MMPretrain's ``CustomDataset``, of all images that can be read, without those of a list.

    Of a folder of this machine :func:`~beit_mm.datasets.finding.find_photos` finds the images, and
    the log has a line on what it found.

    Args:
        exclude: A list that ``tools/check_images.py`` wrote of the folder ``data_prefix``; '' for
            none.
        index_dir: Where what was found in a folder of 10,000 images or more is kept for the next
            time, see :mod:`~beit_mm.datasets.sources.folder_index`; None to keep nothing.
        settings: Those of ``CustomDataset``. With ``extensions`` it is left to ``CustomDataset`` to
            find the files, by these endings alone.

    Raises:
        ValueError: If the list names files outside of the folder or none that is in it, there are
            no images, or not as many class folders as classes.
    """
    if 'extensions' in settings:
        dataset = DATASETS.build(dict(type='mmpretrain.CustomDataset', **settings))
    else:
        # It needs MMPretrain, which the package does not.
        from .found_photos import FoundPhotos

        own = dict(type=FoundPhotos, extensions=image_endings(), index_dir=index_dir)
        dataset = DATASETS.build(own | settings)
    if exclude:
        dataset.full_init()
        _leave_out(dataset, exclude)
    return dataset


def _leave_out(dataset: BaseDataset, path: str) -> None:
    folder = dataset.img_prefix
    names = {os.path.join(folder, name): name for name in read_excluded(path)}
    kept, found = [], set()
    for index in range(len(dataset)):
        file = dataset.get_data_info(index)['img_path']
        if file in names:
            found.add(file)
        else:
            kept.append(index)
    # Images of the folder that another list holds out are no mistake.
    lost = sorted(names[file] for file in names.keys() - found if not _may_be(file, dataset))
    if lost and len(lost) == len(names):
        raise ValueError(
            f'exclude is {path!r}, and none of its {len(names)} names, such as {lost[0]}, is in '
            f'{folder}; it must be a list that tools/check_images.py writes of that folder'
        )
    dataset.get_subset_(kept)
    print_log(f'{path}: {len(found)} of its {len(names)} names left out', 'current')
    if lost:
        said = f'{path}: {len(lost)} of its {len(names)} names are not in {folder}: {lost[0]}'
        print_log(f'{said}{", ..." if len(lost) > 1 else ""}', 'current', logging.WARNING)


def _may_be(file: str, dataset: BaseDataset) -> bool:
    """Whether a file that is none of a data set's is in its folder; stores are not asked."""
    if '://' in file:
        return bool(dataset.ann_file)
    return os.path.exists(split_frame(file)[0])


# Where its settings are looked up, see beit_mm.component.Component.
photo_folder.__dict__['hands_on_to'] = 'mmpretrain.CustomDataset'
