"""Make interp2d_tables.npz: relative position tables as the released BEiT code resizes them.

That code resamples with SciPy's interp2d, which SciPy 1.14 removed. So the numbers were made once,
with SciPy 1.11.4 and NumPy 1.26.4 under Python 3.10.13:

    python3.10 -m venv /tmp/old_scipy
    /tmp/old_scipy/bin/pip install 'scipy==1.11.4' 'numpy<2'
    /tmp/old_scipy/bin/python tests/layers/data/make_interp2d_tables.py

The file holds ``table``, float32 (27 * 27 + 3, 2) for a grid of 14 x 14 patches and 2 heads, and
for each other side s ``to_s``, float32 ((2s - 1)^2 + 3, 2). This script shares no code with
beit_mm: its rule is the authors', written again.
"""

from pathlib import Path

import numpy as np
from scipy.interpolate import interp2d

SOURCE = 14
TARGETS = (24, 32, 40, 10)


def random_table():
    """Waves, such as learned tables have, one phase a head, and some noise."""
    rng = np.random.RandomState(0)
    offsets = np.arange(2 * SOURCE - 1) - (SOURCE - 1)
    dy, dx = np.meshgrid(offsets, offsets, indexing='ij')
    heads = []
    for phase in (0.3, 1.7):
        waves = np.cos(0.31 * dx + phase) + 0.7 * np.cos(0.23 * dy - 0.17 * dx + 2 * phase)
        near = 2 * np.exp(-(dy**2 + dx**2) / 12)
        grid = waves + near + 0.1 * rng.standard_normal(waves.shape)
        heads.append(np.concatenate([grid.ravel(), rng.standard_normal(3)]))
    return np.stack(heads, axis=1).astype(np.float32)


def resize(table, side):
    """The rule of the released run_class_finetuning.py, head by head."""
    src_size, dst_size = 2 * SOURCE - 1, 2 * side - 1
    left, right = 1.01, 1.5
    while right - left > 1e-6:
        q = (left + right) / 2.0
        gp = (1.0 - q ** (src_size // 2)) / (1.0 - q)
        if gp > dst_size // 2:
            right = q
        else:
            left = q

    distances, current = [], 0.0
    for i in range(src_size // 2):
        current += q**i
        distances.append(current)
    x = [-distance for distance in reversed(distances)] + [0.0] + distances
    places = np.arange(-(dst_size // 2), dst_size // 2 + 0.1, 1.0)

    heads = []
    for head in range(table.shape[1]):
        z = table[:-3, head].reshape(src_size, src_size)
        heads.append(interp2d(x, x, z, kind='cubic')(places, places).ravel())
    return np.concatenate([np.stack(heads, axis=1), table[-3:]]).astype(np.float32)


if __name__ == '__main__':
    table = random_table()
    resized = {f'to_{side}': resize(table, side) for side in TARGETS}
    path = Path(__file__).with_name('interp2d_tables.npz')
    np.savez_compressed(path, table=table, **resized)
    print(path, path.stat().st_size, 'bytes')
