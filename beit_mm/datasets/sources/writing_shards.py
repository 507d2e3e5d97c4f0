"""From files to tar shards in WebDataset's layout, with an index and a checksum each."""

import hashlib
import io
import json
import os
import random
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ...checkpoints.writing import TEMPORARY, partial_path, put_in_place, write_whole
from ..reading.known_formats import FORMAT_OF, FORMATS, ending_of, format_of_bytes
from .finding_shards import UNFINISHED
from .shard_index import ENDING, FORMAT, MANIFEST, Sample, ShardIndex, to_json
from .stores import digest_of

# Files that are read at once: a slow disk answers many as fast as one.
AT_ONCE = 8


class Plan(NamedTuple):
    """Which file goes into which shard; the same for the same files and settings.

    Attributes:
        root: Folder of the files.
        shards: Their names below it, shard by shard.
        labels: Name -> class; empty where nobody knows any.
        classes: Names of the classes by number.
        digest: Of all that the shards depend on.
    """

    root: Path
    shards: list[list[str]]
    labels: Mapping[str, str]
    classes: list[str]
    digest: str


def plan_shards(
    root: Path,
    names: Sequence[str],
    labels: Mapping[str, str],
    classes: Sequence[str],
    most_images: int,
    most_bytes: int,
    seed: int,
) -> Plan:
    """Shuffle files and divide them into shards.

    They are shuffled as a shard that has one class in it teaches nothing of the others, and
    training shuffles among a few shards alone.

    Args:
        root: Folder of the files.
        names: Below it.
        labels: Name -> class; empty where nobody knows any.
        classes: Names of the classes by number.
        most_images: In a shard.
        most_bytes: Of the images in a shard, if it has more than one.
        seed: Of the order.

    Raises:
        OSError: If a file cannot be found.
    """
    names = sorted(names)
    sizes = {name: os.stat(root / name).st_size for name in names}
    settings = dict(format=FORMAT, images=most_images, bytes=most_bytes, seed=seed)
    digest = hashlib.sha256(json.dumps([settings, list(classes)]).encode())
    for name in names:
        digest.update(f'{name}\0{sizes[name]}\0{labels.get(name, "")}\n'.encode())
    random.Random(seed).shuffle(names)
    shards: list[list[str]] = []
    filled = 0
    for name in names:
        if not shards or len(shards[-1]) == most_images or filled + sizes[name] > most_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += sizes[name]
    return Plan(root, shards, labels, list(classes), digest.hexdigest())


def write_shards(plan: Plan, out: Path) -> Iterator[int]:
    """Write the shards that are missing of a plan.

    A shard is there as a whole or not at all, and its index after it; the index of all comes last.

    Args:
        plan: Of the shards.
        out: Folder, new, or of the same plan.

    Yields:
        The number of images of each shard that is there now.

    Raises:
        FileExistsError: If the folder holds something else.
        OSError: If a file cannot be read or written.
    """
    out.mkdir(parents=True, exist_ok=True)
    if is_finished(plan, out):
        yield from map(len, plan.shards)
        return
    _begin(plan, out)
    first = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, names in enumerate(plan.shards):
            path = out / f'shard-{number:06d}.tar'
            if not path.with_name(path.name + ENDING).is_file():
                _write_one(plan, path, names, first, pool)
            first += len(names)
            yield len(names)
    entries = [_entry(out / f'shard-{number:06d}.tar') for number in range(len(plan.shards))]
    manifest = dict(format=FORMAT, plan=plan.digest, classes=plan.classes, shards=entries)
    text = json.dumps(manifest, ensure_ascii=False, indent=1) + '\n'
    write_whole(out / MANIFEST, text.encode())
    for left in out.glob(f'*{TEMPORARY}'):
        # Of a process that was killed while it wrote a small file.
        left.unlink()
    (out / UNFINISHED).unlink()


def is_finished(plan: Plan, out: Path) -> bool:
    """Whether all shards of a plan are in a folder.

    Raises:
        FileExistsError: If it holds shards of something else.
    """
    manifest = out / MANIFEST
    if not manifest.is_file():
        return False
    if json.loads(manifest.read_text('utf-8')).get('plan') != plan.digest:
        raise FileExistsError(
            f'{out} holds shards of other files or settings; choose another folder, or delete it'
        )
    return True


def _begin(plan: Plan, out: Path) -> None:
    """Say in the folder of whose plan it is."""
    begun = out / UNFINISHED
    if begun.is_file():
        if json.loads(begun.read_text('utf-8'))['plan'] != plan.digest:
            raise FileExistsError(
                f'{out} holds the begin of shards of other files or settings; choose another '
                'folder, or delete it'
            )
    elif others := sorted(path.name for path in out.iterdir() if not path.name.startswith('.')):
        raise FileExistsError(f'{out} holds other files, such as {others[0]}; choose a new folder')
    else:
        write_whole(begun, json.dumps(dict(plan=plan.digest)).encode())


def _write_one(
    plan: Plan, path: Path, names: Sequence[str], first: int, pool: ThreadPoolExecutor
) -> None:
    samples = []
    with partial_path(path).open('wb+') as file:
        with tarfile.open(fileobj=file, mode='w', format=tarfile.USTAR_FORMAT) as tar:
            contents = pool.map(lambda name: (plan.root / name).read_bytes(), names)
            for number, (name, data) in enumerate(zip(names, contents, strict=True), first):
                member = f'{number:08d}.{_member_ending(name, data)}'
                offset = _add(tar, member, data)
                about: dict = dict(path=name)
                label = None
                if name in plan.labels:
                    label = plan.classes.index(plan.labels[name])
                    _add(tar, f'{number:08d}.cls', str(label).encode())
                    about['label'] = plan.labels[name]
                _add(tar, f'{number:08d}.json', json.dumps(about, ensure_ascii=False).encode())
                samples.append(Sample(member, offset, len(data), zlib.crc32(data), label))
        size, digest = file.seek(0, 2), digest_of(file)
    put_in_place(partial_path(path).with_name(path.name))
    index = ShardIndex(size, digest, samples, {})
    write_whole(path.with_name(path.name + ENDING), to_json(index))


def _member_ending(name: str, data: bytes) -> str:
    """The ending of a file, or of its format where the file has none that tells it."""
    ending = ending_of(name)
    return ending if ending in FORMAT_OF else FORMATS[format_of_bytes(data) or 'jpg'].endings[0]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member that says nothing of time and owner; where its content begins."""
    # One block for the header, as names are short.
    offset = tar.offset + tarfile.BLOCKSIZE
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    return offset


def _entry(path: Path) -> dict:
    index = json.loads(path.with_name(path.name + ENDING).read_text('utf-8'))
    images = len(index['samples'])
    return dict(name=path.name, images=images, size=index['size'], sha256=index['sha256'])
