"""What of images is changed in meaning as a command reads them: said once, with the numbers."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ..datasets.reading.noted import noted_changes


class Changes:
    """Counts images that are changed, a kind each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.images = 0

    @contextmanager
    def of_image(self) -> Iterator[list[str]]:
        """Count an image that is read inside of the block, which is given what is noted of it."""
        with noted_changes() as changes:
            yield changes
        self.images += 1
        self.counts.update(set(changes))

    def tell(self) -> None:
        """Say how many there were."""
        for change, count in self.counts.most_common():
            line = f'changed as images are read: {change}, {count} of {self.images}'
            print(line, file=sys.stderr)
