"""What an import of the package brings along: counted in modules, as seconds differ by machine."""

import json
import subprocess
import sys

import pytest
import torch
from mmengine.utils import digit_version

HEAVY = ['torchvision', 'mmpretrain', 'mmseg', 'matplotlib', 'timm', 'sklearn']
# Before, torch.distributed imports the compiler.
if digit_version(torch.__version__) >= digit_version('2.4'):
    HEAVY.append('torch._dynamo')
CODE = """
import json, sys
# mmengine takes an optimizer from it if it is there, and it imports the compiler.
sys.modules['transformers'] = None
import torch
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def modules_of(statement):
    result = subprocess.run(
        [sys.executable, '-c', CODE.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


def test_the_package_imports_its_registries_and_nothing_else():
    """0.2 s, and models, datasets, mmcv and the Runner when they are asked for."""
    modules = modules_of('import beit_mm')
    own = [name for name in modules if name.startswith('beit_mm')]
    assert own == ['beit_mm', 'beit_mm.component', 'beit_mm.recipes', 'beit_mm.registry']
    assert not {'mmengine.model', 'mmengine.runner', 'mmengine.optim', 'mmcv', 'cv2'} & {*modules}
    with_registries = modules_of('import mmengine.registry')
    assert set(modules) - set(with_registries) == set(own)


@pytest.mark.parametrize('name', ['models', 'datasets', 'engine', 'checkpoints'])
def test_no_part_imports_what_only_some_of_its_users_need(name):
    modules = modules_of(f'import beit_mm; beit_mm.{name}')
    assert f'beit_mm.{name}' in modules
    assert [heavy for heavy in HEAVY if heavy in modules] == []


def test_a_part_that_is_not_there_is_told_as_python_tells_it():
    import beit_mm

    with pytest.raises(AttributeError, match="'beit_mm' has no attribute 'modles'"):
        _ = beit_mm.modles
