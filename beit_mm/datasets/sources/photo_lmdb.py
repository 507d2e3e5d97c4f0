"""Images in an LMDB database, by their keys."""

import os
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log

from ...registry import DATASETS
from .column_labels import CodesBuilder
from .names import Strings, StringsBuilder, encode
from .photo_table import read_table
from .table_columns import Table
from .table_dataset import TableDataset

# Keys of what is no image: lists of keys, counts, notes; those in __ are none either.
NO_IMAGES = frozenset((b'num-samples', b'num_samples', b'length', b'keys', b'meta', b'meta_info'))
# An image's key and its label's, where both lie in the database.
IMAGE, LABEL = b'image-', b'label-'
# How a pickled object begins: PROTO, and the number of the protocol.
PICKLED = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


@DATASETS.register_module()
class PhotoLMDB(TableDataset):
    """Images in an LMDB database: key -> what is in an image's file, such as a JPEG.

    All keys are images, but those of notes such as ``__keys__``, ``__len__`` and ``num-samples``.
    Where they are called ``image-000000001``, labels are what ``label-000000001`` says. Otherwise a
    list gives labels. Nothing is unpickled: that runs what the database's author has put there.

    The database is opened for reading, by each process for itself when it needs it.

    Args:
        data_root: The database: a folder with ``data.mdb``, or a file.
        ann_file: A list as :class:`PhotoTable` takes it, with keys in the place of paths; '' for
            all keys, in order.
        settings: Those of any list: ``columns`` and ``split``, see :class:`PhotoTable`;
            ``with_label``, whether labels
            are wanted; ``multi_label``, whether images may have several, or what parts these in a
            cell, such as ',', where None lets the list tell by a ';' or '|' in a cell; ``classes``,
            their names in the order of their numbers. And those of mmengine's ``BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such database.
        ImportError: If ``lmdb`` is not installed.
        ValueError: If there are no images, values are pickled, or labels or keys are missing.
    """

    def __init__(self, data_root: str, ann_file: str = '', **settings: Any) -> None:
        # The list lies beside the database, not in it.
        super().__init__(
            ann_file=os.path.expanduser(ann_file),
            data_root=os.path.expanduser(data_root),
            **settings,
        )

    @property
    def title(self) -> str:
        """What to call the database in messages."""
        return str(self.data_root)

    def open_table(self) -> Table:
        """Read the keys, or the list of them."""
        database = Database(self.title)
        if self.ann_file:
            listed = read_table(self.ann_file, self.columns)
            if listed.paths is None:
                raise ValueError(f'{self.ann_file} has no column of keys')
            with database.reading() as transaction:
                for row, key in enumerate(listed.paths):
                    if not transaction.cursor().set_key(encode(key)):
                        raise ValueError(f'{listed.where(row)}: {key} is no key of {self.title}')
            images = LmdbImages(database, listed.paths)
            table = listed._replace(images=images)
        else:
            keys = database.keys()
            images = LmdbImages(database, keys)
            labels = database.labels(keys) if self.with_label and len(keys) else None
            table = Table(len(keys), images.name, images=images, labels=labels)
        if table.rows and images[0].startswith(PICKLED):
            raise ValueError(
                f'{images.name(0)} is a pickled object, which is not read, as that could run '
                'anything; write what is in the image files as it is'
            )
        return table


class Database:
    """An LMDB database, opened by each process when it is asked for something, and once in each.

    Args:
        path: A folder with ``data.mdb``, or a file.
    """

    def __init__(self, path: str) -> None:
        if not os.path.exists(os.path.join(path, 'data.mdb') if os.path.isdir(path) else path):
            raise FileNotFoundError(f'{path}: there is no LMDB database')
        self.path = path

    def reading(self, buffers: bool = False) -> Any:
        """A transaction that reads; with ``buffers`` it copies nothing."""
        return environment(os.path.realpath(self.path)).begin(buffers=buffers)

    def keys(self) -> Strings:
        """Keys of the images, in order."""
        images, others, notes = StringsBuilder(), StringsBuilder(), list[str]()
        with self.reading() as transaction:
            for key in transaction.cursor().iternext(keys=True, values=False):
                if key.startswith(IMAGE):
                    images.add(key)
                elif key in NO_IMAGES or key.startswith(b'__'):
                    notes.append(key.decode('utf-8', 'replace'))
                else:
                    others.add(key)
        if notes:
            print_log(f'{self.path}: no images, by their keys: {", ".join(notes[:10])}', 'current')
        # Beside images of such keys lie their labels.
        return (images if len(images) else others).build()

    def labels(self, keys: Strings) -> Any:
        """What the database says of the images; None where it says nothing."""
        if not keys.raw(0).startswith(IMAGE):
            return None
        codes = CodesBuilder()
        with self.reading() as transaction:
            for key in keys.raws():
                value = transaction.get(LABEL + key[len(IMAGE) :], b'')
                codes.add(value.decode('utf-8', 'replace'))
        return codes.build()


# Path -> the process that has opened it, and the database.
OPENED: dict[str, tuple[int, Any]] = {}


def environment(path: str) -> Any:
    """An open database; one process must not open it twice, nor use what another has opened.

    Raises:
        ImportError: If ``lmdb`` is not installed.
    """
    process, opened = OPENED.get(path, (0, None))
    if process == os.getpid():
        return opened
    try:
        import lmdb
    except ImportError as error:
        raise ImportError(
            f"{path} takes lmdb to be read: pip install 'beit-mm[sources]'"
        ) from error
    if opened is not None:
        # In this process, which was forked from that, alone.
        opened.close()
    # Nobody writes: neither locks, which need a place to write to, nor reading ahead of what is
    # read at random.
    options = dict(readonly=True, lock=False, readahead=False, meminit=False)
    OPENED[path] = os.getpid(), lmdb.open(path, subdir=os.path.isdir(path), **options)
    return OPENED[path][1]


class LmdbImages:
    """What is in the files of images, by row.

    Args:
        database: Where they lie.
        keys: Of the rows.
    """

    def __init__(self, database: Database, keys: Sequence[str]) -> None:
        self.database, self.keys = database, keys

    def name(self, row: int) -> str:
        """What to call an image."""
        return f'{self.database.path}/{self.keys[row]}'

    def size(self, row: int) -> int:
        """Bytes of an image."""
        with self.database.reading(buffers=True) as transaction:
            return len(transaction.get(encode(self.keys[row]), b''))

    def __getitem__(self, row: int) -> bytes:
        with self.database.reading() as transaction:
            return transaction.get(encode(self.keys[row]), b'')
