"""``beit-mm embed``: a vector for every image of a folder."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.writing import write_whole, written_elsewhere
from ..component import ConfigError
from ..datasets.stacks import file_of
from ..engine.starting.stages import minutes
from .changed_images import Changes
from .features import extractor, features_in_order
from .photos import existing_folder, find_and_tell
from .sharded_photos import ShardedPhotos, find_sharded
from .starting_weights import weights_of

# Images whose vectors are one file until all are there.
PART = 1024
ENDINGS = ('.npz', '.parquet')


def embed(
    folder: str | Path,
    out: str | Path,
    weights: str | Path,
    *,
    size: int | None = None,
    batch_size: int = 32,
    bands: str | None = None,
    value_range: str | None = None,
    no_data: float | None = None,
) -> Path:
    """Turn images into vectors: the mean of the patches' last hidden states.

    Stopped and started again, it goes on with the images that are left; if one has been changed,
    or they are read otherwise, it begins anew.

    Args:
        folder: Images, in it and in all folders inside; or shards, in a folder or a store.
        out: File to write. ``.npz``: ``features``, (N, C) float32, and ``files``, (N,) text;
            ``.parquet``, which takes pyarrow: a row for each image, with ``file`` and ``features``.
            In order of the files; those that cannot be decoded are told and left out.
        weights: What ``beit_mm.load`` takes.
        size: Height and width of an image; without, that of the weights.
        batch_size: Images at once.
        bands, value_range, no_data: See :func:`beit_mm.commands.pretraining.pretrain`; without, the
            images are read as the weights say.

    Raises:
        ConfigError: If there are no images, they cannot be read so, or the file ends otherwise.
    """
    sharded, out = find_sharded(folder), Path(out).expanduser()
    if out.suffix not in ENDINGS:
        raise ConfigError(f'{out}: it must end in {" or ".join(ENDINGS)}')
    if out.suffix == '.parquet':
        _import_pyarrow()
    if not out.resolve().parent.is_dir():
        raise ConfigError(f'{out}: there is no folder {out.parent}')
    root = sharded or existing_folder(folder)
    names = sharded.names if sharded else _images(existing_folder(folder), out)
    if not names:
        raise ConfigError(f'{root} has no images')
    take = extractor(weights, size).for_images(root, names, bands, value_range, no_data)
    changes = Changes()
    # Hidden, so that it is not searched for images.
    parts = out.with_name(f'.{out.name}.parts')
    settings = dict(
        weights=_about(weights),
        size=take.size,
        how=repr(take.how),
        root=str(root),
        images=_digest(names, _known_of(root)),
    )
    _begin(parts, settings)
    start, done = time.monotonic(), 0
    for number, begin in enumerate(range(0, len(names), PART)):
        part = parts / f'{number:06}.npz'
        chosen = names[begin : begin + PART]
        if part.is_file():
            continue
        rows = list(features_in_order(take, root, chosen, batch_size, _tell, changes))
        _save(part, [name for kept, _ in rows for name in kept],
              np.concatenate([features for _, features in rows]))  # fmt: skip
        done += len(chosen)
        left = (len(names) - begin - len(chosen)) * (time.monotonic() - start) / done
        print(
            f'{begin + len(chosen)} of {len(names)} images, {minutes(left)} left', file=sys.stderr
        )
    changes.tell()
    files, features = _join(parts)
    if not len(files):
        shutil.rmtree(parts)
        raise ConfigError(f'{root}: of its {len(names)} images none can be decoded')
    _write(out, files, features)
    shutil.rmtree(parts)
    rest = len(names) - len(files)
    told = f', {rest} images left out' if rest else ''
    print(f'{out}: {len(files)} vectors of {features.shape[1]} numbers{told}')
    return out


def _images(root: Path, out: Path) -> Sequence[str]:
    """The images of a folder, without the vectors that an earlier start has written there."""
    names, out = find_and_tell(root), out.resolve()
    if not (out.is_file() and out.is_relative_to(root)):
        return names
    own = str(out.relative_to(root))
    return [name for name in names if file_of(name) != own]


def _tell(name: str, why: str) -> None:
    print(f'{name}: left out, {why}', file=sys.stderr)


def _about(weights: str | Path) -> list:
    """What tells weights from others under the same name."""
    path = Path(weights_of(str(weights)))
    files = [path, *(sorted(path.glob('*')) if path.is_dir() else [])]
    return [str(path), *((f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file())]


def _known_of(root: Path | ShardedPhotos) -> Callable[[str], Any]:
    """What tells an image from another under the same name."""
    if isinstance(root, ShardedPhotos):
        # With a checksum.
        return lambda name: root.dataset.get_data_info(root.places[name])['place']

    def size_and_time(name: str) -> tuple[int, int] | None:
        try:
            about = (root / file_of(name)).stat()
        except OSError:
            return None
        return about.st_size, about.st_mtime_ns

    return size_and_time


def _digest(names: Sequence[str], known: Callable[[str], Any]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f'{name!r} {known(name)}\n'.encode())
    return digest.hexdigest()


def _begin(parts: Path, settings: dict) -> None:
    """Make the folder of the parts; parts of other images or weights go."""
    about = parts / 'about.json'
    settings = json.loads(json.dumps(settings))
    if about.is_file() and json.loads(about.read_text()) == settings:
        print(f'goes on with what is in {parts}', file=sys.stderr)
        return
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    write_whole(about, json.dumps(settings).encode())


def _save(path: Path, files: Sequence[str], features: np.ndarray) -> None:
    """Write names and vectors; the file is there as a whole or not at all."""
    with written_elsewhere(path) as unfinished, unfinished.open('wb') as file:
        np.savez(file, features=features.astype(np.float32), files=np.array(files, dtype=str))


def _join(parts: Path) -> tuple[np.ndarray, np.ndarray]:
    files, features = [], []
    for path in sorted(parts.glob('*.npz')):
        with np.load(path) as part:
            files.append(part['files'])
            features.append(part['features'])
    return np.concatenate(files), np.concatenate(features)


def _write(out: Path, files: np.ndarray, features: np.ndarray) -> None:
    if out.suffix == '.npz':
        _save(out, files.tolist(), features)
        return
    arrow, parquet = _import_pyarrow()
    vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(features.ravel()), features.shape[1])
    table = arrow.table(dict(file=arrow.array(files.tolist()), features=vectors))
    with written_elsewhere(out) as unfinished:
        parquet.write_table(table, unfinished)


def _import_pyarrow():
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            '.parquet takes the package pyarrow: pip install pyarrow, or write .npz'
        ) from error
    return pyarrow, parquet
