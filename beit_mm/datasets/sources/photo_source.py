"""What opens the image of a sample, wherever its data set has it."""

from typing import Any

from .stores import as_source


def photo_source(dataset: Any, index: int) -> str | bytes:
    """The file of an image, or what is in it.

    Args:
        dataset: Of mmengine's kind. One whose images are no files of their own has
            ``read_photo(index)``, as :class:`PhotoShards`; of others it is ``img_bytes`` or
            ``img_path`` of what they know of a sample.
        index: Of the sample.

    Raises:
        BrokenImage: If a data set of its own kind cannot read the sample.
        FileNotFoundError: If there is no such file in a store.
        StoreError: If a store fails.
    """
    own = getattr(dataset, 'read_photo', None)
    if own is not None:
        return own(index)
    info = dataset.get_data_info(index)
    return info['img_bytes'] if 'img_bytes' in info else as_source(info['img_path'])
