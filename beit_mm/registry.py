"""Child registries of mmengine's, so that ``type='beit_mm.X'`` works from any default scope."""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='beit_mm', locations=['beit_mm.models'])
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='beit_mm', locations=['beit_mm.datasets']
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='beit_mm', locations=['beit_mm.engine'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='beit_mm', locations=['beit_mm.engine'])
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='beit_mm', locations=['beit_mm.datasets']
)
DATA_SAMPLERS = Registry(
    'data sampler', parent=MMENGINE_DATA_SAMPLERS, scope='beit_mm', locations=['beit_mm.datasets']
)
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='beit_mm', locations=['beit_mm.engine'])
FUNCTIONS = Registry(
    'function', parent=MMENGINE_FUNCTIONS, scope='beit_mm', locations=['beit_mm.engine']
)
OPTIM_WRAPPERS = Registry(
    'optim wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='beit_mm',
    locations=['beit_mm.engine'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optim wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='beit_mm',
    locations=['beit_mm.engine'],
)
OPTIMIZERS = Registry(
    'optimizer', parent=MMENGINE_OPTIMIZERS, scope='beit_mm', locations=['beit_mm.engine']
)
VISBACKENDS = Registry(
    'visualizer backend',
    parent=MMENGINE_VISBACKENDS,
    scope='beit_mm',
    locations=['beit_mm.engine'],
)
