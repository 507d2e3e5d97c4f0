"""What a search of a large folder has found, kept for the next one.

A folder's time stamp changes when a file in it is made, removed or renamed. The next search asks
each folder for its time stamp, and lists those again that bear another one. It does not see a file
that was overwritten in its place: that makes a difference to files that are told by their first
bytes alone.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from ..reading.known_formats import FORMAT_OF, readable_formats
from .folder_listing import KnownFolders, Listing, join_listings, read_listing, save_listing

# Where the commands and the datasets keep them, beside the work directories of their runs.
INDEX_DIR = 'work_dirs/.indices'
# Images from which on a folder has one; to list fewer takes a moment.
SAVED_FROM = 10_000


class FolderIndex:
    """The index of a folder, a file in the folder of all indices.

    Several processes may read and write it at once: it is there as a whole or not at all.

    Args:
        index_dir: The folder of all; None for no index.
        folder: The folder that is searched.
        how: The way that it is searched in.
    """

    def __init__(
        self, index_dir: str | Path | None, folder: str | Path, how: str = 'folders'
    ) -> None:
        # What else decides which files are images.
        root = os.path.abspath(folder)
        kinds = dict(endings=FORMAT_OF, readable=sorted(readable_formats()))
        self.made_for = dict(folder=root, how=how, **kinds)
        self.path = None
        if index_dir is not None:
            digest = hashlib.sha256(f'{how} {root}'.encode('utf-8', 'replace'))
            self.path = Path(index_dir, f'{digest.hexdigest()[:16]}.npz')

    def read(self) -> KnownFolders | None:
        """What an earlier search has found, if there was one of the same kind."""
        listing = None if self.path is None else read_listing(self.path, self.made_for)
        self.was_there = listing is not None
        return listing and KnownFolders(listing)

    def keep(self, parts: Sequence[tuple[str, Listing]], listed: int) -> str:
        """Write what has been found, if it is much and not there already.

        Args:
            parts: Path of a folder inside, and what is in it.
            listed: How many folders were listed for it.

        Returns:
            What is to be told of it.
        """
        if self.path is None or sum(len(part.leaves) for _, part in parts) < SAVED_FROM:
            return ''
        of_all = f'{listed} of {sum(len(part.folders) for _, part in parts)} folders listed'
        if self.was_there and not listed:
            return f'as {self.path} has them, whose folders have not changed since'
        try:
            whole = parts[0][1] if parts[0][0] == '' else join_listings(parts)
            save_listing(self.path, whole, self.made_for)
        except OSError as error:
            return f'{of_all}; they will be again, as {self.path} cannot be written: {error}'
        return f'{of_all}, the next time those that will have changed, by {self.path}'
