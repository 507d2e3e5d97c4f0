"""Photos of a folder, without those that a list leaves out."""

import os

from mmengine.dataset import BaseDataset

from ..registry import DATASETS
from .reading.known_formats import image_endings
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
        ValueError: If the list names files outside of the folder, there are no images, or not as
            many class folders as classes.
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
        excluded = {os.path.join(dataset.img_prefix, name) for name in read_excluded(exclude)}
        paths = (dataset.get_data_info(index)['img_path'] for index in range(len(dataset)))
        dataset.get_subset_([index for index, path in enumerate(paths) if path not in excluded])
    return dataset


# Where its settings are looked up, see beit_mm.component.Component.
photo_folder.__dict__['hands_on_to'] = 'mmpretrain.CustomDataset'
