"""Where methods are compiled and where they are not; results are compared beside their modules."""

import pytest
import torch

from beit_mm.models import compiling
from beit_mm.models.compiling import can_compile, compiled


class Doubler:
    """Something with a method."""

    factor = 2

    def double(self, x):
        """Twice x."""
        return self.factor * x


@pytest.fixture(autouse=True)
def _forget():
    compiled.cache_clear()
    yield
    compiled.cache_clear()


def test_before_pytorch_2_5_the_method_itself_runs_and_one_line_says_so(monkeypatch):
    lines = []
    monkeypatch.setattr(compiling, 'can_compile', lambda: False)
    monkeypatch.setattr(compiling, 'print_log', lambda line, logger: lines.append(line))
    for _ in range(3):
        assert compiled(Doubler.double) is Doubler.double
    (line,) = lines
    assert 'Doubler.double' in line
    assert torch.__version__ in line


def test_a_method_is_compiled_once(monkeypatch):
    if not can_compile():
        pytest.skip('methods are not compiled before PyTorch 2.5')
    made = []
    monkeypatch.setattr(torch, 'compile', lambda method: made.append(method) or (lambda *args: 7))
    for _ in range(3):
        assert compiled(Doubler.double)(Doubler(), 1) == 7
    assert made == [Doubler.double]
