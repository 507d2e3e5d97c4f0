"""Lines of lists that people write by hand or other programs wrote."""

import io
import os
from collections.abc import Iterator

from .stores import is_url, read_bytes


def list_lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Each line of a list with its number from 1, without its end; blank ones are left out.

    The list is in UTF-8, with the mark of order that Notepad writes or without it. Nothing but a
    line feed parts lines, as names may hold all else.

    Args:
        path: A file, or the URL of one in a store.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If the store fails.
        UnicodeDecodeError: If it is in another encoding.
    """
    path = os.fspath(path)
    with io.BytesIO(read_bytes(path, keep=False)) if is_url(path) else open(path, 'rb') as file:
        lines = io.TextIOWrapper(file, encoding='utf-8-sig', newline='\n')
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.rstrip('\r\n')
