"""MMPretrain's data set of a folder, with this project's way to find the images in it."""

import logging
import os
from pathlib import Path

from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset

from .finding import find_classes, find_photos, join_classes


class FoundPhotos(CustomDataset):
    """``CustomDataset`` of a folder's images, or of those that a list names, as ever."""

    def load_data_list(self) -> list[dict]:
        """Find the images, and log how many there are of which kind.

        Returns:
            ``img_path`` of each image, and ``gt_label`` where labels are wanted.

        Raises:
            ValueError: If there are none, or not as many class folders as classes.
        """
        # Of remote storage mmengine lists the files.
        if self.ann_file or '://' in self.img_prefix:
            return super().load_data_list()
        folder = self.img_prefix
        classes = find_classes(folder) if self.with_label else {}
        found = join_classes(folder, classes) if self.with_label else find_photos(folder)
        if not found.names:
            where = 'its class folders' if self.with_label else 'it and the folders in it'
            raise ValueError(f'{Path(folder)}: in {where} there are {found}')
        # Processes other than the main one log errors alone.
        print_log(f'{Path(folder)}: {found}', 'current')
        if not self.with_label:
            return [dict(img_path=os.path.join(folder, name)) for name in found.names]
        self._name_classes(folder, list(classes))
        if empty := [label for label, inside in classes.items() if not inside.names]:
            said = f'{Path(folder)}: there are no images of {", ".join(empty)}'
            print_log(said, 'current', logging.WARNING)
        return [
            dict(img_path=os.path.join(folder, label, name), gt_label=number)
            for number, (label, inside) in enumerate(classes.items())
            for name in inside.names
        ]

    def _name_classes(self, folder: str, labels: list[str]) -> None:
        self.folder_to_idx = {label: number for number, label in enumerate(labels)}
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(labels)
        elif len(self.CLASSES) != len(labels):
            raise ValueError(
                f'{Path(folder)} has {len(labels)} class folders, and the config names '
                f'{len(self.CLASSES)} classes'
            )
