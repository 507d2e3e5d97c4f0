"""What is in a shard: a tar file in WebDataset's layout, and where in it each image lies.

Members whose names are alike up to the first dot of the last part are of one sample: ``0001.jpg``,
``0001.cls``, ``0001.json``. Source: WebDataset, https://github.com/webdataset/webdataset
"""

import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from ..reading.known_formats import FORMAT_OF

# Of the files of an index.
FORMAT = 1
# Beside a shard, after the whole of its name; and of all shards of a folder.
ENDING, MANIFEST = '.idx', 'index.json'
# Of the images; what readers of shards compare.
LABEL_KEYS = ('label', 'cls', 'class', 'class_name', 'category', 'target')
COMPRESSED = ('.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.tar.zst')


class Sample(NamedTuple):
    """An image in a shard.

    Attributes:
        name: Of its member: key, dot, ending.
        offset: Of its first byte in the shard.
        length: In bytes.
        crc32: Of these bytes.
        label: Number or name of its class, None where the shard says none.
    """

    name: str
    offset: int
    length: int
    crc32: int
    label: int | str | None


class ShardIndex(NamedTuple):
    """What is in a shard.

    Attributes:
        size: Of the shard in bytes.
        sha256: Of the shard; '' where nobody has computed it.
        samples: In the order of the shard.
        left_out: Kind -> number of members or samples that are left out.
    """

    size: int
    sha256: str
    samples: list[Sample]
    left_out: dict[str, int]


def split_key(name: str) -> tuple[str, str]:
    """Key and ending of a member.

    >>> split_key('birds/0001.mask.png')
    ('birds/0001', 'mask.png')
    """
    folder, slash, last = name.rpartition('/')
    stem, _, ending = last.partition('.')
    return f'{folder}{slash}{stem}', ending.lower()


def read_members(shard: BinaryIO, name: str) -> ShardIndex:
    """Find the images of a shard by reading it from end to end.

    Args:
        shard: Open, at its begin.
        name: For messages.

    Raises:
        ValueError: If it is no tar file, compressed, or cut off.
    """
    labels: dict[str, int | str] = {}
    images: dict[str, Sample] = {}
    left_out: dict[str, int] = {}

    def leave_out(kind: str) -> None:
        left_out[kind] = left_out.get(kind, 0) + 1

    size = shard.seek(0, 2)
    shard.seek(0)
    for member, data in _members(shard, name):
        key, ending = split_key(member.name)
        if ending in FORMAT_OF:
            if key in images:
                leave_out('another image of a sample')
                if not _is_array(images[key].name) or _is_array(member.name):
                    continue
            place = member.offset_data, member.size, zlib.crc32(data)
            images[key] = Sample(member.name, *place, None)
        elif ending in ('cls', 'json'):
            label = _label(data, ending)
            # A name tells more than a number; a .cls file decides between numbers.
            if label is not None and (key not in labels or ending == 'cls'):
                labels[key] = label
        else:
            leave_out(ending or 'of no ending')
    samples = [sample._replace(label=labels.get(key)) for key, sample in images.items()]
    return ShardIndex(size, '', samples, left_out)


def _is_array(name: str) -> bool:
    """Whether a member may as well be features of the image beside it."""
    return FORMAT_OF[split_key(name)[1]] in ('npy', 'npz')


def _members(shard: BinaryIO, name: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    try:
        with tarfile.open(fileobj=shard, mode='r:') as tar:
            for member in tar:
                if member.isfile() and not PurePosixPath(member.name).name.startswith('.'):
                    file: Any = tar.extractfile(member)
                    data = file.read()
                    if len(data) != member.size:
                        raise tarfile.ReadError('unexpected end of data')
                    yield member, data
    except tarfile.TarError as error:
        way_out = '; unpack it first' if name.endswith(COMPRESSED) else ''
        raise ValueError(f'{name} is no whole tar file: {error}{way_out}') from error


def _label(data: bytes, ending: str) -> int | str | None:
    try:
        text = data.decode().strip()
        if ending == 'json':
            content = json.loads(text)
            found = next((content[k] for k in LABEL_KEYS if k in content), None)
            return found if isinstance(found, (int, str)) else None
    # A list in a list in a list ... ends in the last.
    except (ValueError, TypeError, RecursionError):
        return None
    return int(text) if text.lstrip('-').isdecimal() else text or None


def to_json(index: ShardIndex) -> bytes:
    """The content of the file of an index."""
    content = dict(format=FORMAT, **index._asdict())
    return (json.dumps(content, ensure_ascii=False, separators=(',', ':')) + '\n').encode()


def from_json(content: bytes, name: str) -> ShardIndex:
    """The index that a file holds.

    Args:
        content: Of the file.
        name: For messages.

    Raises:
        ValueError: If it is none, or damaged.
    """
    try:
        found = json.loads(content)
        if not isinstance(found, Mapping) or found.get('format') != FORMAT:
            raise ValueError(f'it is of another format than {FORMAT}')
        samples = [Sample(*sample) for sample in found['samples']]
        return ShardIndex(int(found['size']), found['sha256'], samples, dict(found['left_out']))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{name} is no index of a shard: {error}') from error
