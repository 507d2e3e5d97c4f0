"""Where methods are compiled and where they are not; results are compared beside their modules."""

import pytest
import torch

from beit_mm.layers import compiling
from beit_mm.layers.compiling import can_compile, compiled, in_its_fast_form
from beit_mm.machine import Choice


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


# ----------------------------------------------------------------------------------------------
# What a config leaves open
# ----------------------------------------------------------------------------------------------

CPU, GPU = torch.device('cpu'), torch.device('cuda')


@pytest.fixture
def on_a_gpu(monkeypatch):
    """As on a GPU that gains by compiling; the compiler only notes what it was given."""
    monkeypatch.setattr(compiling, 'compiling', lambda device: Choice('', 'yes', ''))
    monkeypatch.setattr(compiling, 'compiled', lambda method: ('compiled', method))
    monkeypatch.setattr(compiling, 'compiled_if_it_can_be', lambda method: ('tried', method))


def large(training=True):
    return torch.nn.Linear(1000, 1000).train(training)


@pytest.mark.parametrize(
    ('wanted', 'device', 'module', 'form'),
    [
        (None, GPU, large(), 'tried'),
        (None, GPU, large(training=False), 'plain'),
        (None, GPU, torch.nn.Linear(100, 100), 'plain'),
        (None, CPU, large(), 'plain'),
        (True, CPU, torch.nn.Linear(2, 2).eval(), 'compiled'),
        (False, GPU, large(), 'plain'),
    ],
    ids=['open', 'open, evaluation', 'open, small', 'open, on a CPU', 'asked for', 'refused'],
)
def test_what_is_compiled(on_a_gpu, wanted, device, module, form):
    method = Doubler.double
    expected = method if form == 'plain' else (form, method)
    assert in_its_fast_form(method, wanted, device, module) == expected


def test_nothing_is_compiled_inside_of_what_is(on_a_gpu, monkeypatch):
    monkeypatch.setattr(compiling, 'is_compiling', lambda: True)
    assert in_its_fast_form(Doubler.double, True, GPU, large()) is Doubler.double


def test_where_the_compiler_fails_the_method_runs_and_one_line_says_so(monkeypatch):
    """Only what nobody asked for: otherwise the compiler's error is the answer."""
    if not can_compile():
        pytest.skip('methods are not compiled before PyTorch 2.5')
    from torch._dynamo.exc import InternalTorchDynamoError

    calls, lines = [], []

    def fails(*args):
        calls.append(args)
        raise InternalTorchDynamoError('out of resource\nand forty lines more')

    monkeypatch.setattr(compiling, 'compiled', lambda method: fails)
    monkeypatch.setattr(compiling, 'print_log', lambda line, **_: lines.append(line))
    compiling.compiled_if_it_can_be.cache_clear()
    double = compiling.compiled_if_it_can_be(Doubler.double)
    assert [double(Doubler(), n) for n in (1, 2, 3)] == [2, 4, 6]
    assert len(calls) == 1
    (line,) = lines
    assert line.endswith('InternalTorchDynamoError: out of resource')
    compiling.compiled_if_it_can_be.cache_clear()
