"""Visual tokens of a fixed number of views a photo, computed once and read from disk.

A cache is a folder: ``manifest.json`` says what the tokens are of, and ``tokens_00000.npy`` and
so on hold those of ``photos_per_shard`` photos each, (photos, views, h, w) uint16, read as they
are needed. Nothing in it is run, and no file outside the folder is read.
"""

import hashlib
import io
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..checkpoints.writing import write_whole
from .reading.opening import split_frame

MANIFEST = 'manifest.json'
# Of the files' layout and of how views are drawn and made: of anything that changes tokens.
FORMAT = 1
MOST_TOKENS = 2**16
# Shards that a process keeps open: each takes one of the files it may have, often 1024.
MOST_OPEN = 256
WAY_OUT = 'delete it and run tools/cache_tokens.py again'
# What a manifest must bind, beside how the tokens are stored. Versions of libraries are told too,
# but may differ: they change pixels by a grey level at most.
BOUND = ('dataset', 'views', 'tokenizer')


class CacheError(ValueError):
    """A token cache that is not there, not whole, damaged, or of something else."""


def describe_photos(paths: Sequence[str], sizes: Sequence[int | None] | None = None) -> dict:
    """What tells a list of photos from another: number, names below their common folder, sizes.

    Args:
        paths: Files in the order of the data set. Sizes of those elsewhere than on a disk, such as
            ``s3://...``, and of folders are left out. Of an image in a stack, ``scan.nii.gz#40``,
            it is the size of the stack.
        sizes: In bytes, of those that are no files of their own; None for the size of the file.
    """
    # One way to write each: 'data/a.jpg', not './data//a.jpg', which is as long in no common path.
    names = [os.path.normpath(path) for path in paths]
    root = len(os.path.commonpath([os.path.dirname(name) for name in names])) if names else 0
    digest = hashlib.sha256()
    for path, name, told in zip(paths, names, sizes or [None] * len(paths), strict=True):
        size = _size(path) if told is None else told
        digest.update(f'{name[root:].lstrip(os.sep)}\0{size}\n'.encode())
    return dict(photos=len(paths), names_and_sizes=digest.hexdigest())


def _size(path: str) -> int:
    if '://' in path:
        return 0
    status = os.stat(split_frame(path)[0])
    # A folder's own size is that of its list of names, and another on another disk.
    return 0 if stat.S_ISDIR(status.st_mode) else status.st_size


def differences(expected: object, found: object, key: str = '') -> list[str]:
    """What differs between two descriptions, a line for each key."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        names = [*expected, *(name for name in found if name not in expected)]
        return [
            line
            for name in names
            for line in differences(
                expected.get(name), found.get(name), f'{key}.{name}' if key else str(name)
            )
        ]
    return [] if expected == found else [f'{key}: {expected!r} here, {found!r} in the cache']


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f'tokens_{shard:05d}.npy'


class TokenCache:
    """A token cache that is being written or read.

    Args:
        folder: Of the cache.

    Raises:
        CacheError: If there is none, or its manifest is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = self._read_manifest()
        self._shards: dict[int, np.ndarray] = {}

    @classmethod
    def create(cls, folder: str | Path, manifest: dict) -> 'TokenCache':
        """Begin a cache, or go on with one of the same manifest.

        Args:
            folder: Of the cache.
            manifest: What :data:`BOUND` names, ``versions``, ``photos_per_shard`` and ``grid``.

        Raises:
            CacheError: If the folder holds a cache of something else.
            ValueError: If a file cannot hold what the manifest says.
        """
        if manifest['photos_per_shard'] < 1:
            raise ValueError(f'photos_per_shard is {manifest["photos_per_shard"]}; it must be >= 1')
        if manifest['tokenizer']['vocab_size'] > MOST_TOKENS:
            raise ValueError(
                f'vocab_size is {manifest["tokenizer"]["vocab_size"]}; 16 bits tell '
                f'{MOST_TOKENS} tokens apart'
            )
        path = Path(folder, MANIFEST)
        manifest = json.loads(json.dumps(dict(format=FORMAT, **manifest)))
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, (json.dumps(manifest, indent=2) + '\n').encode())
        cache = cls(folder)
        cache.check(manifest, keys=[name for name in manifest if name != 'format'])
        return cache

    def _read_manifest(self) -> dict:
        path = self.folder / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding='utf-8'))
        except FileNotFoundError:
            raise CacheError(
                f'{self.folder} is no token cache: it has no {MANIFEST}; tools/cache_tokens.py '
                'makes one'
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise CacheError(f'{path} cannot be read: {error}') from error
        if not isinstance(manifest, dict) or manifest.get('format') != FORMAT:
            raise CacheError(f'{path} is not the manifest of a token cache of format {FORMAT}')
        grid = manifest.get('grid')
        numbers = [
            manifest.get('photos_per_shard'),
            _entry(manifest, 'dataset', 'photos'),
            _entry(manifest, 'views', 'num_views'),
            _entry(manifest, 'tokenizer', 'vocab_size'),
            *(grid if isinstance(grid, list) and len(grid) == 2 else [None]),
        ]
        if not all(type(number) is int and number > 0 for number in numbers):
            raise CacheError(f'{path} lacks numbers of photos, views, tokens or their grid')
        return manifest

    @property
    def num_photos(self) -> int:
        """Number of photos."""
        return self.manifest['dataset']['photos']

    @property
    def num_views(self) -> int:
        """Views of each photo."""
        return self.manifest['views']['num_views']

    @property
    def num_shards(self) -> int:
        """Number of files with tokens."""
        return -(-self.num_photos // self.manifest['photos_per_shard'])

    def check(self, expected: Mapping, keys: Sequence[str] = BOUND) -> None:
        """Hold the manifest against what a run needs.

        Raises:
            CacheError: With every difference.
        """
        # As JSON gives it back: lists, not tuples.
        expected = json.loads(json.dumps({key: expected[key] for key in keys if key in expected}))
        found = {key: self.manifest.get(key) for key in expected}
        lines = differences(expected, found)
        if lines:
            raise CacheError(f'{self.folder} holds tokens of something else; ' + '; '.join(lines))

    def check_complete(self) -> None:
        """Hold the files against the manifest.

        Raises:
            CacheError: If one is missing or damaged.
        """
        for shard in range(self.num_shards):
            self._open(shard)

    def photos_of(self, shard: int) -> range:
        """Which photos a shard holds."""
        size = self.manifest['photos_per_shard']
        return range(shard * size, min((shard + 1) * size, self.num_photos))

    def missing(self) -> list[int]:
        """Shards yet to be written.

        Raises:
            CacheError: If one that is there is damaged.
        """
        return [k for k in range(self.num_shards) if not self._is_there(k)]

    def _is_there(self, shard: int) -> bool:
        if not _shard_path(self.folder, shard).exists():
            return False
        self._open(shard)
        return True

    def write(self, shard: int, tokens: np.ndarray) -> None:
        """Write a shard.

        Args:
            shard: Its number.
            tokens: (photos, views, h, w) in [0, vocab_size).

        Raises:
            ValueError: If they are of another shape or out of range.
        """
        wanted = self._shape(shard)
        if tokens.shape != wanted:
            raise ValueError(f'the tokens of shard {shard} are {tokens.shape}, not {wanted}')
        self._check_range(tokens, f'shard {shard}')
        file = io.BytesIO()
        np.save(file, tokens.astype(np.uint16), allow_pickle=False)
        write_whole(_shard_path(self.folder, shard), file.getvalue())

    def read(self, photo: int, view: int) -> np.ndarray:
        """Tokens of one view.

        Args:
            photo: Number of the photo in the data set.
            view: Number of the view, 0 to ``num_views`` - 1.

        Returns:
            (h, w) int64 in [0, vocab_size).

        Raises:
            CacheError: If the file is missing or damaged.
            IndexError: If there is no such photo or view.
        """
        if not (0 <= photo < self.num_photos and 0 <= view < self.num_views):
            raise IndexError(
                f'view {view} of photo {photo} is not in {self.folder}, which has '
                f'{self.num_views} views of {self.num_photos} photos'
            )
        shard, place = divmod(photo, self.manifest['photos_per_shard'])
        if shard not in self._shards:
            if len(self._shards) == MOST_OPEN:
                self._shards.pop(next(iter(self._shards)))
            self._shards[shard] = self._open(shard)
        tokens = self._shards[shard][place, view].astype(np.int64)
        self._check_range(tokens, str(_shard_path(self.folder, shard)))
        return tokens

    def _shape(self, shard: int) -> tuple[int, ...]:
        return len(self.photos_of(shard)), self.num_views, *self.manifest['grid']

    def _check_range(self, tokens: np.ndarray, name: str) -> None:
        vocab_size = self.manifest['tokenizer']['vocab_size']
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocab_size:
            raise CacheError(
                f'{name} holds tokens from {tokens.min()} to {tokens.max()}; the vocabulary has '
                f'{vocab_size}'
            )

    def _open(self, shard: int) -> np.ndarray:
        path, wanted = _shard_path(self.folder, shard), self._shape(shard)
        try:
            tokens = np.load(path, mmap_mode='r', allow_pickle=False)
        except FileNotFoundError:
            raise CacheError(
                f'{path} is missing: the cache is not complete; run tools/cache_tokens.py again'
            ) from None
        except OSError as error:
            raise CacheError(f'{path} cannot be read: {error}') from error
        except Exception as error:
            # NumPy raises many kinds on a damaged header.
            raise CacheError(f'{path} is damaged: {error}; {WAY_OUT}') from error
        if not isinstance(tokens, np.memmap) or tokens.dtype != np.uint16 or tokens.shape != wanted:
            raise CacheError(
                f'{path} is damaged: it must hold uint16 {wanted}, not '
                f'{getattr(tokens, "dtype", "an archive")} {getattr(tokens, "shape", "")}; '
                f'{WAY_OUT}'
            )
        return tokens

    def __getstate__(self) -> dict:
        # Each loader worker maps the files itself: pickled, they would be copied.
        return {**self.__dict__, '_shards': {}}


def _entry(manifest: dict, part: str, name: str) -> object:
    """An entry of a part of a manifest that may have any form."""
    value = manifest.get(part)
    return value.get(name) if isinstance(value, dict) else None
