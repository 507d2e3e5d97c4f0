"""BEiT for the OpenMMLab stack: ``custom_imports = dict(imports=['beit_mm'])``.

Importing the package makes its registries known, and they find ``type='beit_mm.X'``; the modules
behind them, and what those import, come when they are asked for.
"""

import importlib

from . import registry
from .recipes import let_mmengine_find_recipes

__version__ = '0.1.0'
let_mmengine_find_recipes()
# Imported by the first look at them.
SUBPACKAGES = (
    'checkpoints',
    'commands',
    'datasets',
    'engine',
    'exporting',
    'layers',
    'models',
    'reporting',
    'visualization',
)
# And the functions that need no more than a line.
FUNCTIONS = dict(
    load='models',
    pretrain='commands.pretraining',
    finetune='commands.finetuning',
    transfer='commands.transferring',
    segment='commands.segmenting',
    predict='commands.predicting',
    embed='commands.embedding',
    evaluate='commands.evaluating',
    report='commands.reporting',
)
__all__ = ['__version__', 'registry', *FUNCTIONS, *SUBPACKAGES]


def __getattr__(name: str):
    if name in SUBPACKAGES:
        return importlib.import_module(f'{__name__}.{name}')
    if name in FUNCTIONS:
        return getattr(importlib.import_module(f'{__name__}.{FUNCTIONS[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
