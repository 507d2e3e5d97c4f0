"""How often each visual token is used, and where."""

import numpy as np


class CodeUse:
    """Counts of all codes, and some of the places of each, evenly drawn.

    Places are drawn by the smallest of random numbers, one for each place of an image, which
    follow from the image's number alone: in whatever batches images come, the draw is the same.
    What is kept does not grow with the images.

    Args:
        num_codes: V.
        keep: Places of a code that are kept.
        seed: Of the draw.
    """

    def __init__(self, num_codes: int, keep: int, seed: int = 0) -> None:
        self.counts = np.zeros(num_codes, dtype=np.int64)
        self.keep = keep
        self.seed = seed
        self._codes = np.zeros(0, dtype=np.int64)
        self._keys = np.zeros(0)
        self._places = np.zeros((0, 3), dtype=np.int64)

    def add(self, tokens: np.ndarray, first: int) -> None:
        """Count the tokens of some images.

        Args:
            tokens: (B, h, w) integers in [0, V).
            first: Number of the first image; the others follow.
        """
        count, rows, columns = tokens.shape
        self.counts += np.bincount(tokens.ravel(), minlength=len(self.counts))
        keys = [np.random.default_rng((self.seed, first + i)).random(rows * columns)
                for i in range(count)]  # fmt: skip
        places = np.indices(tokens.shape).reshape(3, -1).T
        codes = np.concatenate([self._codes, tokens.ravel()])
        all_keys = np.concatenate([self._keys, *keys])
        all_places = np.concatenate([self._places, places + np.array([first, 0, 0])])
        order = np.lexsort((all_keys, codes))
        codes = codes[order]
        # How many of the same code stand before each.
        rank = np.arange(len(codes)) - np.searchsorted(codes, codes)
        order = order[rank < self.keep]
        self._codes, self._keys = codes[rank < self.keep], all_keys[order]
        self._places = all_places[order]

    def places_of(self, code: int) -> np.ndarray:
        """(image, row, column) of some of the places of a code, (K, 3) int64, in random order."""
        return self._places[self._codes == code]

    @property
    def used(self) -> int:
        """Codes in use."""
        return int((self.counts > 0).sum())

    @property
    def perplexity(self) -> float:
        """exp(entropy) of how often codes are used: the number of codes if all were used alike."""
        share = self.counts[self.counts > 0] / max(1, self.counts.sum())
        return float(np.exp(-(share * np.log(share)).sum()))

    def groups(self, each: int) -> dict[str, np.ndarray]:
        """Codes to look at: most used, random and rare ones, none twice.

        Args:
            each: How many of each; fewer if fewer are in use.

        Returns:
            'most used', 'random' and 'rare' -> codes, those used most first.
        """
        order = np.argsort(-self.counts, kind='stable')[: self.used]
        # Where few are in use, they are shared among the three.
        each = min(each, -(-len(order) // 3))
        most, rest = order[:each], order[each:]
        rare, middle = rest[max(0, len(rest) - each) :], rest[: max(0, len(rest) - each)]
        rng = np.random.default_rng(self.seed)
        chosen = np.sort(rng.permutation(len(middle))[:each])
        return {'most used': most, 'random': middle[chosen], 'rare': rare}
