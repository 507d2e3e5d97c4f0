"""BEiT for the OpenMMLab stack: ``custom_imports = dict(imports=['beit_mm'])``.

Importing the package makes its registries known, and they find ``type='beit_mm.X'``; the modules
behind them, and what those import, come when they are asked for.
"""

import importlib

from . import registry

__version__ = '0.1.0'
# Imported by the first look at them.
SUBPACKAGES = (
    'checkpoints',
    'datasets',
    'engine',
    'exporting',
    'layers',
    'models',
    'visualization',
)
__all__ = ['__version__', 'registry', *SUBPACKAGES]


def __getattr__(name: str):
    if name in SUBPACKAGES:
        return importlib.import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
