"""What is left of a run that is refused, and what is not its own."""

import itertools

import mmpretrain.apis  # noqa: F401, registers what configs name
import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from toy_run import make_photos, write_config

from beit_mm.engine import ConfigError, RunStopped, train
from beit_mm.engine.running import exact_resume
from beit_mm.engine.running.exact_resume import ExactIterBasedTrainLoop
from beit_mm.engine.starting.telling import leaving_nothing

numbers = itertools.count()


class FlatLog(Runner):
    """A Runner of somebody's own, whose log lies beside the checkpoints."""

    def build_logger(self, log_level='INFO', log_file=None, **settings):
        return super().build_logger(log_level, log_file=f'{self.work_dir}/train.log', **settings)


@pytest.fixture
def config(tmp_path):
    make_photos(tmp_path)

    def config(work_dir, **changes):
        cfg = Config.fromfile(write_config(tmp_path))
        cfg.work_dir, cfg.launcher = str(tmp_path / work_dir), 'none'
        cfg.experiment_name = f'telling_{next(numbers)}'
        cfg.merge_from_dict(changes)
        return cfg

    return config


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize(
    ('mistake', 'said'),
    [
        ({'model.type': 'Nonsense'}, 'Nonsense'),
        ({'model.backbone.drop_path_rate': 3.0}, 'drop_prob is 1.0'),
    ],
)
def test_a_run_that_was_finished_before_in_this_process_keeps_its_folder(
    config, tmp_path, mistake, said
):
    train(config('one'))
    before = files(tmp_path / 'one')
    with pytest.raises(ConfigError, match=said):
        train(config('two', **mistake))
    assert files(tmp_path / 'one') == before
    assert not (tmp_path / 'two').exists()


class Closable(Visualizer):
    closed = 0

    def close(self):
        self.closed += 1


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit, RunStopped])
def test_a_run_that_ends_itself_has_its_trackers_write_what_they_hold(error, tmp_path):
    earlier = Closable.get_instance(f'telling_{next(numbers)}')
    ours = []

    def run():
        with leaving_nothing(tmp_path / 'run', 'config.py', lambda: True):
            ours.append(Closable.get_instance(f'telling_{next(numbers)}'))
            raise error

    with pytest.raises(error):
        run()
    assert (earlier.closed, ours[0].closed) == (0, 1)


def test_a_refused_resume_leaves_the_folder_as_it_was(config, tmp_path):
    train(config('one'))
    before = files(tmp_path / 'one')
    with pytest.raises(ConfigError, match='drop_prob is'):
        train(config('one', resume=True, **{'model.backbone.drop_path_rate': 3.0}))
    assert files(tmp_path / 'one') == before


def test_a_log_beside_the_checkpoints_takes_none_of_them_with_it(config, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RUNNERS._module_dict, 'FlatLog', FlatLog)
        train(config('one', runner_type='FlatLog'))
        before = set(files(tmp_path / 'one'))
        with pytest.raises(ConfigError, match='drop_prob is'):
            train(
                config(
                    'one',
                    runner_type='FlatLog',
                    resume=True,
                    **{'model.backbone.drop_path_rate': 3.0},
                )
            )
    # What it has logged elsewhere stays: which folder is its own is not known.
    assert before <= set(files(tmp_path / 'one'))


def failing(iteration, error):
    """The loop, with an error in an iteration."""
    run_iter = ExactIterBasedTrainLoop.__mro__[2].run_iter

    def run(self, *args):
        if self._iter == iteration:
            raise error
        run_iter(self, *args)

    return run


@pytest.mark.parametrize(
    ('iteration', 'error', 'kind'),
    [
        (0, ValueError('no such shape'), ConfigError),
        (0, RuntimeError('NCCL error: unhandled system error'), ConfigError),
        (1, ValueError('no such shape'), ValueError),
        (1, FileNotFoundError('gone'), RunStopped),
    ],
)
def test_errors_of_the_first_iteration_and_of_later_ones(
    config, tmp_path, monkeypatch, iteration, error, kind
):
    monkeypatch.setattr(exact_resume.IterBasedTrainLoop, 'run_iter', failing(iteration, error))
    with pytest.raises(kind, match=str(error)):
        train(config('one'))
    assert (tmp_path / 'one').exists() == (iteration > 0)
