"""Settings of all tests: no GPU unless asked for, one thread, and no traces left behind."""

import gc
import os
import sys
from types import SimpleNamespace

# Before torch and mmengine look for one, and for the processes that tests start: with a GPU in
# sight mmengine's Runner takes it by itself, and --amp means another precision.
# Processes of pytest-xdist have no command line of their own: they inherit the variable.
if os.environ.setdefault('BEIT_MM_TEST_GPU', str(int('cuda' in sys.argv))) == '0':
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

import forked
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import loops
from yapf.yapflib import yapf_api

from beit_mm.engine.starting import stages

# The tensors here are tiny: a second thread has nothing to do but wait for the first, and where
# another process holds its core that waiting makes the tests several times slower.
torch.set_num_threads(1)

# mmengine sleeps two seconds at the end of each epoch where iterations are counted, lest loader
# workers of old PyTorch hang; epochs here are of three or four iterations.
loops.time = SimpleNamespace(sleep=lambda seconds: None)

# The text of a config is made over to be read by people, which takes as long as a short training.
yapf_api.FormatCode = lambda text, **_: (text, True)


def _restored_scopes():
    """Put mmengine's default scopes back as they were."""
    before = dict(DefaultScope._instance_dict)
    yield
    scopes = DefaultScope._instance_dict
    scopes.clear()
    scopes.update(before)


# Whatever default scope a test, or a fixture that a whole file shares, leaves in force, the next
# one begins without it.
_scope_of_a_test = pytest.fixture(autouse=True)(_restored_scopes)
_scope_of_a_file = pytest.fixture(autouse=True, scope='module')(_restored_scopes)


@pytest.fixture(autouse=True, scope='module')
def _little_to_collect():
    """Keep the garbage collector from what has been imported.

    mmengine calls it for every data set, which takes a third of a second where it looks through
    all of PyTorch: of some files half their time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session')
def device() -> torch.device:
    """The GPU, for tests marked ``cuda``; they can be rehearsed on another device."""
    return torch.device(os.environ.get('BEIT_MM_TEST_DEVICE', 'cuda'))


@pytest.fixture(scope='module')
def forked_stages():
    """Stages of commands are forks, with what a test has patched; not for tests of processes."""
    forked.import_what_tools_do()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, 'subprocess', forked.OF_STAGES)
        yield


@pytest.fixture
def known_speed(monkeypatch):
    """Nothing is timed before a run, which only says how long it will take: its steps are given."""
    of_steps = ('pretraining.seconds_a_step', 'lengths.seconds_a_step')
    for name in (*of_steps, 'lengths.seconds_an_image'):
        monkeypatch.setattr(f'beit_mm.commands.{name}', lambda *_: 0.1)


# Files that take more than half a minute; the first to begin, so that none is alone at the end.
SLOW_FILES = (
    'test_own_images.py',
    'test_shard_training.py',
    'test_any_bands.py',
    'test_on_shards.py',
    'test_gpu_benchmark.py',
    'test_reliability.py',
    'test_quickstart.py',
    'test_notebook.py',
    'test_reconstructions_hook.py',
    'test_resumed_changes.py',
    'test_tracking.py',
    'test_wheel.py',
    'test_tools.py',
    'test_configs.py',
    'test_exact_resume.py',
    'test_variants.py',
    'test_claims.py',
    'test_segmentation_tools.py',
    'test_beit.py',
    'test_classification.py',
    'test_export.py',
    'test_benchmarks.py',
    'test_distributed.py',
    'test_docs.py',
    'test_resolution.py',
    'test_vector_tokenizer.py',
)


def pytest_collection_modifyitems(items):
    """Begin with the slow files, and skip what needs a GPU where there is none."""
    places = {name: place for place, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    if torch.cuda.is_available() or 'BEIT_MM_TEST_DEVICE' in os.environ:
        return
    skip = pytest.mark.skip(reason='needs an NVIDIA GPU: pytest -m cuda')
    for item in items:
        if item.get_closest_marker('cuda'):
            item.add_marker(skip)
