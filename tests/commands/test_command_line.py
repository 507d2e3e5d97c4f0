"""What `beit-mm` says: helps, and mistakes with what to type in their place."""

import argparse
import importlib
import inspect
import os
import signal

import pytest

from beit_mm.commands.main import COMMANDS, build_parser, main
from beit_mm.commands.parsing import Parser, question


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize('name', COMMANDS)
def test_the_options_of_a_command_are_its_functions_arguments(name):
    parser = argparse.ArgumentParser()
    COMMANDS[name].add_arguments(parser)
    file, _, function = COMMANDS[name].function.partition(':')
    module = importlib.import_module(f'beit_mm.commands.{file}')
    parameters = inspect.signature(getattr(module, function)).parameters
    given = {action.dest: action for action in parser._actions if action.dest != 'help'}
    assert set(given) == set(parameters)
    for dest, action in given.items():
        default = parameters[dest].default
        if default is not inspect.Parameter.empty and dest != 'cfg_options':
            assert action.default == default, dest


@pytest.mark.parametrize('name', COMMANDS)
def test_the_examples_of_a_help_can_be_parsed(name, capsys):
    for line in COMMANDS[name].examples.splitlines():
        program, *arguments = line.split()
        assert program == 'beit-mm'
        parsed = build_parser().parse_args(arguments)
        assert parsed.command == name
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), '--help'])
    assert stopped.value.code == 0
    assert COMMANDS[name].examples.splitlines()[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ('pretain photos', "did you mean 'pretrain'?"),
        ('pretrain photos --step 3', "--step is not known; did you mean '--steps'?"),
        ('pretrain photos --minuts 3', "did you mean '--minutes'?"),
        ('pretrain photos --steps=3 --archs base', "did you mean '--arch'?"),
        ('pretrain photos more', "'more' is one argument too many"),
        ('pretrain photos --steps many', "it is 'many'; it must be a whole number above 0"),
        ('pretrain photos --minutes 0', "it is '0'; it must be a number above 0"),
        ('pretrain photos --track tensorbord', "did you mean 'tensorboard'?"),
        ('pretrain photos --cfg-options lr', 'it must be KEY=VALUE'),
        ('convert a.pth b.pth --to tim', "did you mean 'timm'?"),
        ('finetune photos --weight w.pth', 'arguments are required: --weights'),
        ('predict', 'arguments are required: model, images'),
        ('embed photos out.npz', 'arguments are required: --weights'),
        ('pretrain photos --cfg_option a=1', "did you mean '--cfg-options'?"),
        ('--print-completion bash recipes', '--print-completion is given, and beit-mm recipes'),
    ],
)
def test_mistakes_are_told_with_what_to_type(arguments, said, capsys):
    error = refusal(capsys, *arguments.split())
    first, help_line = error.splitlines()
    assert said in first
    assert first.startswith('beit-mm')
    assert help_line.endswith('--help shows what there is')


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ('pretrain {tmp}/phots', "there is no such folder; did you mean 'photos'?"),
        ('pretrain {tmp}/photos', 'has 0 images; ten is the least'),
        ('pretrain {tmp}/photos --steps 3 --minutes 3', 'are both given'),
        ('finetune {tmp}/photos --weights none', 'images of 0 classes; there must be two'),
        (
            'predict {tmp} a.jpg',
            'is no folder that one of beit-mm finetune, beit-mm segment has made',
        ),
        ('embed {tmp}/photos {tmp}/v.npy --weights none', 'must end in .npz or .parquet'),
        ('segment {tmp}/photos {tmp}/photos --weights none', '0 images with a mask'),
        ('export {tmp} a.onnx', 'is no folder that one of'),
        ('test {tmp}', 'has no finetune.py and no segment.py'),
        ('shard {tmp} --verify --images 2 --no-labels', '--images and --no-labels: of shards that'),
        ('shard {tmp} --verify --megabytes 1', '--megabytes: of shards that are written, and OUT'),
        ('shard {file} {tmp}/out --no-labels', '--no-labels is of folders, and'),
    ],
)
def test_mistakes_in_what_is_there(arguments, said, capsys, tmp_path):
    (tmp_path / 'photos').mkdir()
    error = refusal(capsys, *arguments.format(tmp=tmp_path, file=__file__).split())
    assert said in error
    assert error.startswith(f'beit-mm {arguments.split()[0]}: ')
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['photos']


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ends_a_command_unless_it_is_ignored(number, monkeypatch):
    module = importlib.import_module('beit_mm.commands.main')
    monkeypatch.setattr(module, '_run', lambda *_: os.kill(os.getpid(), number))
    before = signal.signal(number, signal.SIG_IGN)
    try:
        main(['recipes'])
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, signal.SIG_DFL)
        with pytest.raises(SystemExit) as stopped:
            main(['recipes'])
        assert stopped.value.code == 128 + number
    finally:
        signal.signal(number, before)


def test_no_command_shows_the_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    out = capsys.readouterr().out
    assert all(f'  {name.split()[0]} ' in out for name in COMMANDS)


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'tcsh'])
def test_completion(shell, capsys):
    pytest.importorskip('shtab')
    main(['--print-completion', shell])
    assert 'pretrain' in capsys.readouterr().out


def test_a_word_that_is_like_nothing_gets_no_question():
    assert question('xyzzy', ['steps', 'minutes']) == ''
    # Not for their dashes.
    assert question('--arch', ['--track', '--steps']) == ''


def test_recipes_and_info(capsys):
    main(['recipes'])
    out = capsys.readouterr().out
    assert 'beit_pretrain.py' in out
    assert '83.2 top-1' in out
    main(['info'])
    assert 'what is fast here' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('option', 'text', 'name', 'value'),
    [
        ('--value-range', '-1000,400', 'value_range', '-1000,400'),
        ('--value-range', '-.5,1', 'value_range', '-.5,1'),
        ('--no-data', '-3.4e38', 'no_data', -3.4e38),
        ('--no-data', '-9999', 'no_data', -9999),
    ],
)
def test_values_that_begin_with_a_minus_are_no_options(option, text, name, value):
    parser = Parser()
    COMMANDS['pretrain'].add_arguments(parser)
    assert getattr(parser.parse_args(['photos', option, text]), name) == value
