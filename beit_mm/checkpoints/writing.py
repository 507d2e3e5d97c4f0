"""Files that are whole or not there."""

import os
import uuid
from pathlib import Path


def partial_path(path: Path) -> Path:
    """Where a file is written before it is whole: beside it, under a name that nothing reads."""
    return path.with_name(f'.{path.name}.partial')


def put_in_place(path: Path) -> None:
    """Give what was written to :func:`partial_path` its name, once it is known to be on the disk.

    Raises:
        OSError: If the system cannot store it.
    """
    partial = partial_path(path)
    with partial.open('rb') as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    # The new name is an entry of the folder, which is stored by itself.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all, whenever the process is stopped."""
    # Processes on two machines may have one number.
    temporary = path.with_name(f'{path.name}.{uuid.uuid4().hex}.tmp')
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
