"Sweeps that are interrupted, killed, shared between processes, or run on a cluster."
import functools
import json
import math
import os
import signal
import subprocess
import sys
import time

import joblib
import pandas as pd
import pytest
from conftest import root

from convlab.study.sweep import _read, paired, show_means, summarize, sweep

slow = '''
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test that runs in the background ignores it, and so would this process
from convlab.study.sweep import sweep
def run(seed, x):
    print('run', x, seed, file=sys.stderr, flush=True)
    time.sleep(.15)
    return dict(y=10*x+seed)
sweep(run, dict(x=[1,2,3,4]), 3, sys.argv[1], progress=False)
'''


def start(path): return subprocess.Popen([sys.executable, '-c', slow, str(path)], stderr=subprocess.PIPE, text=True)


def lines(path): return len(path.read_bytes().splitlines()) if path.exists() else 0


def ran(process): return process.communicate(timeout=60)[1].count('run ')


@pytest.mark.skipif(os.name == 'nt', reason='signals are of POSIX')
@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_loses_at_most_the_run_in_flight(tmp_path, sig):
    path = tmp_path/'runs.jsonl'
    first = start(path)
    for _ in range(5): assert first.stderr.readline().startswith('run')  # the fifth is in flight
    first.send_signal(sig)
    first.communicate(timeout=60)
    assert first.returncode != 0
    kept = lines(path)
    assert kept in (4, 5)
    assert ran(start(path)) == 12-kept
    found = sweep(lambda seed, x: 1/0, dict(x=[1, 2, 3, 4]), 3, path, progress=False)
    assert found.y.tolist() == [10*x+s for x in (1, 2, 3, 4) for s in range(3)]
    assert ran(start(path)) == 0 and lines(path) == 12


def test_a_torn_line_costs_its_own_run_only(tmp_path):
    path, runs = tmp_path/'runs.jsonl', []
    def run(seed, x):
        runs.append(seed)
        return dict(y=x+seed)
    sweep(run, dict(x=[1]), 3, path, progress=False)
    text = path.read_bytes()
    path.write_bytes(text[:-40])  # killed while it wrote the last line
    again = sweep(run, dict(x=[1]), 4, path, progress=False)
    assert runs == [0, 1, 2, 2, 3] and again.y.tolist() == [1, 2, 3, 4]
    whole = [json.loads(o)['seed'] for o in path.read_text().splitlines() if o.endswith('}')]
    assert whole == [0, 1, 2, 3]


def test_other_lines_do_no_harm(tmp_path):
    path = tmp_path/'runs.jsonl'
    path.write_bytes(b'[1, 2]\n{}\n"text"\n\xff\xfe\n\n3\n{"settings": {}, "seed": 0}\n')
    assert sweep(lambda seed: dict(y=1), [{}], 2, path, progress=False).y.tolist() == [1, 1]


def test_two_processes_share_a_file(tmp_path):
    path = tmp_path/'runs.jsonl'
    both = [start(path), start(path)]
    total = sum(ran(p) for p in both)
    records = [json.loads(o) for o in path.read_text().splitlines()]  # no torn line
    assert len(records) == total and len(_read(path)) == 12
    assert [p.returncode for p in both] == [0, 0]


def test_two_processes_append_at_once(tmp_path):
    code = '''
import sys
from pathlib import Path
from convlab.study.sweep import _append
for i in range(100): _append(Path(sys.argv[1]), [dict(settings={}, seed=int(sys.argv[2])+i, results=dict(text='x'*5000), error=None)])
'''
    path = tmp_path/'runs.jsonl'
    both = [subprocess.Popen([sys.executable, '-c', code, str(path), str(1000*i)]) for i in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    assert sorted(json.loads(o)['seed'] for o in path.read_text().splitlines()) == [*range(100), *range(1000, 1100)]


def test_a_run_that_raises_is_reported_and_tried_again(tmp_path):
    path, broken = tmp_path/'runs.jsonl', True
    def run(seed, x):
        if broken and x == 2: raise ValueError('no such x')
        return dict(y=x)
    first = sweep(run, dict(x=[1, 2]), 2, path, progress=False)
    assert first.error.tolist()[2:] == ['ValueError: no such x']*2 and first.error.isna().tolist()[:2] == [True, True]
    assert first.y.isna().tolist() == [False, False, True, True] and first.seconds.notna().all()
    broken = False
    second = sweep(run, dict(x=[1, 2]), 2, path, progress=False)
    assert second.y.tolist() == [1, 1, 2, 2] and second.error.isna().all()


def test_results_that_cannot_be_kept_are_errors():
    def errors(run): return sweep(run, dict(x=[1]), 1, progress=False).error[0]
    assert errors(lambda seed, x: 3).startswith('TypeError: the result must be a dict')
    assert errors(lambda seed, x: dict(y=[1])).startswith('TypeError: y must be a number')
    assert errors(lambda seed, x: dict(x=1)).startswith("ValueError: results must not be named as settings; got ['x']")


def test_seeds_together(tmp_path):
    path, asked = tmp_path/'runs.jsonl', []
    def run(seeds, x):
        asked.append((x, seeds))
        return [dict(y=x+s) for s in seeds]
    sweep(run, dict(x=[10]), [0, 2], path, together=True, progress=False)
    runs = sweep(run, dict(x=[10, 20]), 4, path, together=True, progress=False)
    assert asked == [(10, [0, 2]), (10, [1, 3]), (20, [0, 1, 2, 3])]
    assert runs.y.tolist() == [10, 11, 12, 13, 20, 21, 22, 23]
    short = sweep(lambda seeds, x: [], dict(x=[1]), 2, together=True, progress=False)
    assert short.error.str.contains('a dict for each of 2 seeds; got 0').all()


def test_settings_keep_their_kind_on_disk(tmp_path):
    def run(seed, **settings): return dict(kinds=' '.join(type(v).__name__ for v in settings.values()))
    grid, path = [dict(a=1, b=1., c=True, d='1', e=None)], tmp_path/'runs.jsonl'
    first = sweep(run, grid, 1, path, progress=False)
    assert first.kinds[0] == 'int float bool str NoneType'
    pd.testing.assert_frame_equal(first, sweep(run, grid, 1, path, progress=False))
    assert len(path.read_text().splitlines()) == 1


def test_a_missing_folder_is_said_before_the_first_run(tmp_path):
    with pytest.raises(ValueError, match='path must be in a folder that exists'):
        sweep(lambda seed: pytest.fail('it ran'), [{}], 1, tmp_path/'none'/'runs.jsonl', progress=False)


def test_what_cannot_be_swept():
    with pytest.raises(ValueError, match='seeds must be a whole number of at least 1; got 0'): sweep(dict, {}, 0)
    with pytest.raises(TypeError, match='seeds must be a whole number'): sweep(dict, {}, [.5])
    with pytest.raises(TypeError, match='grid must be a dict of lists, or a list of dicts'): sweep(dict, [3], 1)
    with pytest.raises(TypeError, match='path must be a path, or None; got int'): sweep(dict, {}, 1, 3)
    with pytest.raises(TypeError, match="n_jobs must be a whole number, or None; got '2'"): sweep(dict, {}, 1, n_jobs='2')


# What is noticed before the first run

def never(seed, **settings): pytest.fail('it ran')


@pytest.mark.parametrize('run,together,says', [
    (3, False, 'run must be a function; got int'), ('train', False, 'run must be a function; got str'), (None, False, 'run must be a function; got NoneType'),
    (lambda: {}, False, "run must take seed, lr, bs by name, as in grid; got an unexpected keyword argument 'seed'"),
    (lambda seed, lr: {}, False, "got an unexpected keyword argument 'bs'"), (lambda seed, lr, bs, momentum: {}, False, "missing a required argument: 'momentum'"),
    (lambda seed, /, lr, bs: {}, False, 'run must take seed, lr, bs by name'), (lambda seed, lr, bs: {}, True, "run must take seeds, lr, bs by name, as in grid; .*'seed"),
    (functools.partial(lambda seed, lr, bs, x: {}), False, "missing a required argument: 'x'")])
def test_a_run_that_cannot_be_called_is_refused(run, together, says, tmp_path):
    path = tmp_path/'runs.jsonl'
    with pytest.raises(TypeError, match=says): sweep(run, [dict(lr=1, bs=2)], 2, path, together=together, progress=False)
    assert not path.exists()


def test_one_setting_that_a_run_does_not_take():
    with pytest.raises(TypeError, match="run must take seed, lr, wd by name"): sweep(lambda seed, lr: pytest.fail('it ran'), [dict(lr=1), dict(lr=1, wd=0)], 1, progress=False)


def test_a_type_error_of_the_run_itself_costs_its_row_alone():
    found = sweep(lambda seed, lr: dict(y=1/lr if lr else lr+'no'), dict(lr=[0, 2]), 1, progress=False)
    assert found.error[0].startswith('TypeError: unsupported operand') and found.y[1] == .5


@pytest.mark.parametrize('grid', [dict(norm='batch'), dict(norm=b'batch'), dict(lr=.1), dict(lr=None), dict(lr=dict(a=1)), 'abc', None, 3, [3], {1: [2]}, dict(lr=[[1]])])
def test_a_grid_that_is_no_list_is_refused(grid):
    with pytest.raises(TypeError): sweep(never, grid, 1, progress=False)


@pytest.mark.parametrize('grid,seeds', [(dict(lr=[]), 1), ([], 1), (dict(lr=[.1, .1]), 1), ([{}, {}], 1), ({}, []), ({}, [1, 2, 1]),
                                        *((dict([(name, [1])]), 1) for name in ('seed', 'seeds', 'seconds', 'error', 'versions', 'machine'))])
def test_what_would_count_nothing_or_twice_is_refused(grid, seeds):
    with pytest.raises(ValueError): sweep(never, grid, seeds, progress=False)


def test_lists_of_any_kind_are_grids():
    import numpy as np
    import torch
    for values in ((1, 2), range(1, 3), np.array([1, 2]), torch.tensor([1, 2]), pd.Series([1, 2]), iter([1, 2])):
        assert sweep(lambda seed, x: dict(y=x), dict(x=values), 1, progress=False).y.tolist() == [1, 2]
    assert sweep(lambda seed, x: dict(y=x), dict(x=['batch', 'none']), 1, progress=False).y.tolist() == ['batch', 'none']
    assert sweep(lambda seed: dict(y=seed), {}, torch.tensor(2), progress=False).y.tolist() == [0, 1]


@pytest.mark.parametrize('name', ['seed', 'seeds', 'seconds', 'error', 'versions', 'machine'])
@pytest.mark.parametrize('together', [False, True])
def test_results_do_not_hide_behind_a_column(name, together):
    def run(seed=None, seeds=()): return [dict(y=1), {name: 1}] if together else {name: 1}
    assert sweep(run, {}, 2, together=together, progress=False).error[0] == f"ValueError: results must leave these names to sweep; got ['{name}']"


def test_an_older_file_is_read(tmp_path):
    path = tmp_path/'runs.jsonl'
    lines = [dict(settings=dict(x=1), seed=0, results=dict(y=5), error=None), dict(settings=[1], seed=0, results={}, error=None),
             dict(settings=dict(x=1), seed=1, results=[3], error=None)]
    path.write_text('\n'.join(map(json.dumps, lines)) + '\n' + '['*100_000 + '\n')
    runs = sweep(lambda seed, x: dict(y=seed), dict(x=[1]), 2, path, progress=False)
    assert runs.y.tolist() == [5, 1] and runs.seconds.isna().tolist() == [True, False]


@pytest.mark.parametrize('place', ['a folder', 'held by another', 'the lock is a folder', 'cannot be locked', 'read-only folder', 'read-only file'])
def test_a_path_that_cannot_be_written_is_noticed_at_once(place, tmp_path, monkeypatch):
    path = tmp_path/'runs.jsonl'
    if place == 'a folder': path.mkdir()
    if place == 'the lock is a folder': (tmp_path/'runs.jsonl.lock').mkdir()
    if place.startswith('read-only'):
        if os.getuid() == 0: pytest.skip('the superuser may write anywhere')
        if place.endswith('file'): path.touch(0o444)
        else: tmp_path.chmod(0o555)
    if place == 'cannot be locked':
        fcntl = pytest.importorskip('fcntl')
        def no_locks(fd, flags): raise OSError(5, 'Input/output error')
        monkeypatch.setattr(fcntl, 'flock', no_locks)
    if place == 'held by another':
        from filelock import FileLock
        held = FileLock(f'{path}.lock')
        held.acquire()
    with pytest.raises(ValueError, match='path must be a file that can be read, locked and written; got .*runs.jsonl'):
        sweep(never, dict(x=[1]), 1, path, progress=False)
    tmp_path.chmod(0o755)


def test_a_file_that_holds_all_is_only_read(tmp_path):
    path = tmp_path/'runs.jsonl'
    sweep(lambda seed: dict(y=seed), {}, 2, path, progress=False)
    (tmp_path/'runs.jsonl.lock').unlink(missing_ok=True)
    (tmp_path/'runs.jsonl.lock').mkdir()  # nothing can be added now
    assert sweep(never, {}, 2, path, progress=False).y.tolist() == [0, 1]


failed = pd.DataFrame(dict(lr=[1, 2], seed=[0, 0], error=['ValueError: no', 'KeyError: x']))


@pytest.mark.parametrize('runs,by,value,says', [
    (pd.DataFrame(dict(y=[])), [], 'y', 'at least one y; it has 0 rows'), (pd.DataFrame(dict(y=[None, None])), [], 'y', 'it has 2 rows, all without'),
    (failed, 'lr', 'y', 'at least one y; the first failed with ValueError: no'), (pd.DataFrame(), [], 'y', r"value must name columns of runs, \[\]; got \['y'\]"),
    (pd.DataFrame(dict(y=[1.])), 'lr', 'y', r"by must name columns of runs, \['y'\]; got \['lr'\]")])
def test_nothing_cannot_be_summarized(runs, by, value, says):
    with pytest.raises(ValueError, match=says): summarize(runs, by, value)


def test_text_has_no_mean():
    with pytest.raises(TypeError, match='value must be a column of numbers; y has text'): summarize(pd.DataFrame(dict(y=['a'])), [], 'y')


@pytest.mark.parametrize('kwargs,says', [
    (dict(first='c'), r"first must be a value of norm, \['a', 'b'\]; got 'c'"), (dict(second='c'), "second must be a value of norm"),
    (dict(second='a'), "first and second must differ; got 'a' twice"), (dict(over='lr'), r'over must name columns of runs'),
    (dict(value='z'), 'value must name columns of runs'), (dict(by='lr'), 'by must name columns'), (dict(value='w'), "no seed has a w for both 'a' and 'b'")])
def test_pairs_that_are_not_there(kwargs, says):
    runs = pd.DataFrame(dict(norm=['a', 'a', 'b', 'b'], seed=[0, 1, 0, 1], y=[1., 2., 0., 1.], w=[1., None, None, 2.]))
    assert paired(runs, 'y', 'norm', 'a', 'b').difference[0] == 1
    with pytest.raises(ValueError, match=says): paired(runs, **{**dict(value='y', over='norm', first='a', second='b'), **kwargs})


def test_a_cluster_with_nothing_changed_but_the_context_manager():
    distributed = pytest.importorskip('distributed')
    def run(seed, x):
        import os
        return dict(y=x/seed, pid=os.getpid())
    def study(): return sweep(run, dict(x=[1, 2, 3, 4]), 3, progress=False)
    here = study()
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, distributed.Client(cluster):
        with joblib.parallel_config(backend='dask'): there = study()
    known = ['x', 'seed', 'y', 'error', 'versions', 'machine']
    pd.testing.assert_frame_equal(here[known], there[known])
    assert here.error.notna().sum() == 4 and set(here.pid.dropna()) == {os.getpid()}
    assert os.getpid() not in set(there.pid.dropna())


def test_bar_shows_and_goes(capfd):
    sweep(lambda seed: time.sleep(.01) or dict(y=1), [{}], 3)
    assert '3/3' in capfd.readouterr().out


def test_intervals_hold_the_truth_as_often_as_they_say():
    import numpy as np
    gen = np.random.default_rng(0)
    runs = pd.DataFrame(dict(study=np.repeat(range(2000), 6), value=gen.normal(3, 2, 12_000)))
    for method, least, most in (('t', .94, .96), ('bootstrap', .80, .95)):  # six runs are few for the bootstrap
        table = summarize(runs, 'study', 'value', method=method)
        assert (table.n == 6).all()
        assert least < ((table.low <= 3) & (table.high >= 3)).mean() < most, method


@pytest.mark.parametrize('k', range(11))
def test_shares_have_wilsons_interval(k):
    from scipy.stats import binomtest
    table = summarize(pd.DataFrame(dict(ok=[True]*k + [False]*(10-k))), [], 'ok', level=.9)
    assert table.iloc[0].tolist() == pytest.approx([10, k/10, *binomtest(k, 10).proportion_ci(.9, 'wilson')], abs=1e-12)


def test_wilson_at_the_ends():
    runs = pd.DataFrame(dict(kind=['a']*10+['b']*10, ok=[True]*10+[False]*10))
    table = summarize(runs, 'kind', 'ok').set_index('kind')
    assert table.loc['a', 'high'] == 1 and table.loc['b', 'low'] == 0
    assert table.loc['a', 'low'] == pytest.approx(.7225, abs=1e-4) and table.loc['b', 'high'] == pytest.approx(.2775, abs=1e-4)


def test_one_run_has_no_interval():
    table = summarize(pd.DataFrame(dict(y=[1.])), [], 'y')
    assert table.n[0] == 1 and table['mean'][0] == 1 and table[['low', 'high']].isna().all(axis=None)


@pytest.mark.parametrize('values,mean', [([1, math.inf], math.inf), ([-math.inf, 2, 3], -math.inf), ([math.inf, -math.inf], math.nan), ([1e308]*3, math.inf)])
@pytest.mark.parametrize('method', ['t', 'bootstrap'])
@pytest.mark.filterwarnings('error')
def test_what_is_infinite_has_no_interval(values, mean, method):
    table = summarize(pd.DataFrame(dict(y=[*values, 1., 3.], lr=[1]*len(values) + [2]*2)), 'lr', 'y', method=method)
    assert table['mean'].tolist() == pytest.approx([mean, 2], nan_ok=True)
    assert math.isnan(table.low[0]) and math.isnan(table.high[0]) and table.low[1] <= 2 <= table.high[1]


def test_shares_are_from_0_to_1():
    for y in ([.5, 1.2], [-1., 0.], [math.inf, 0.]):
        with pytest.raises(ValueError, match="value must hold numbers from 0 to 1 for method='wilson'; y has others"): summarize(pd.DataFrame(dict(y=y)), [], 'y', method='wilson')


@pytest.mark.parametrize('over', [[1, 1, 2, 2], [1., 1., .5, .5], [True, True, False, False], ['a', 'a', 'b', 'b']])
def test_values_are_told_as_python_has_them(over):
    import numpy as np
    runs = pd.DataFrame(dict(lr=over, seed=[0, 1, 0, 1], y=[1., 2., 0., 1.]))
    first, second = runs.lr.to_numpy()[[0, 2]]
    assert paired(runs, 'y', 'lr', first, second).difference[0] == 1
    for kwargs in (dict(first=np.int64(7)), dict(second=first), dict(first=np.float64(.25))):
        with pytest.raises(ValueError) as e: paired(runs, 'y', 'lr', **{**dict(first=first, second=second), **kwargs})
        assert 'np.' not in str(e.value)
    with pytest.raises(TypeError, match='first must be a number, text, boolean or None; got list'): paired(runs, 'y', 'lr', [1], second)


def test_a_table_has_each_name_once():
    runs = pd.DataFrame(dict(n=[1, 1, 2, 2], y=[1., 2., 3., 4.]))
    with pytest.raises(ValueError, match="by must leave these names to the table; got \\['n'\\]"): summarize(runs, 'n', 'y')


def test_pairs_need_both_runs():
    runs = pd.DataFrame(dict(norm=['a', 'a', 'a', 'b', 'b'], seed=[0, 1, 2, 0, 1], y=[1., 2., 9., 0., 1.5]))
    table = paired(runs, 'y', 'norm', 'a', 'b')
    assert table.n[0] == 2 and table.difference[0] == pytest.approx(.75)


@pytest.mark.parametrize('x,ticks', [('lr', None), ('norm', ['none', 'batch'])])
def test_means_are_drawn_where_they_are(x, ticks):
    import matplotlib.pyplot as plt
    table = pd.DataFrame(dict(lr=[.1, .2], norm=['none', 'batch'], mean=[1., 2.], low=[.5, 1.5], high=[2., 3.]))
    ax = show_means(table, x)
    data, _, (bars,) = ax.containers[0]
    assert data.get_ydata().tolist() == [1, 2]
    assert [s[:, 1].tolist() for s in bars.get_segments()] == [[.5, 2], [1.5, 3]]
    if ticks: assert [t.get_text() for t in ax.get_xticklabels()] == ticks
    plt.close(ax.figure)


# The studies

@pytest.fixture(scope='module')
def common():
    sys.path.insert(0, str(root/'experiments'))
    import common
    return common


studies = 'one_step valleys schedule batch_size generalization steady_inputs first_layer classic_features norm_order learned_kernels'.split()


@pytest.mark.parametrize('name', studies)
def test_a_study_is_whole(name):
    "All settings have all their seeds, nothing failed, and the README gives the answer."
    runs = pd.read_csv(root/'convlab'/'static'/f'{name}.csv')
    results = 'before after_1 train_loss train valid weights'.split()
    settings = list(runs.columns[:runs.columns.get_loc('seed')])
    assert not set(settings) & set(results) and 'error' not in runs
    assert not runs.duplicated([*settings, 'seed']).any() and runs.notna().all(axis=None)
    for _, seeds in runs.groupby(settings).seed: assert sorted(seeds) == list(range(len(seeds))) and len(seeds) >= 5
    assert f'`{name}.py`' in (root/'experiments'/'README.md').read_text()


def test_the_schedule_is_fastais(common):
    import torch
    from convlab.training import one_cycle_schedule
    lrs, moms = one_cycle_schedule(117, .06)
    ours = torch.tensor([common.schedule(i/117, .06, '1cycle') for i in range(117)], dtype=torch.float64)
    torch.testing.assert_close(ours, torch.stack([lrs, moms], 1), rtol=1e-6, atol=1e-12)
    for kind, rate, mom in (('no momentum cycle', True, False), ('constant', False, False)):
        other = torch.tensor([common.schedule(i/117, .06, kind) for i in range(117)], dtype=torch.float64)
        assert bool(torch.equal(other[:, 0], ours[:, 0])) == rate and (other[:, 1] == .9).all() != mom
    late, early = ([common.schedule(i/117, .06, kind)[0] for i in range(117)] for kind in ('no warm-up', 'no decay'))
    assert late[:30] == [.06]*30 and late[30:] == pytest.approx(lrs[30:].tolist())
    assert early[30:] == [.06]*87 and early[:30] == pytest.approx(lrs[:30].tolist())


def test_the_optimizer_is_fastais(common):
    import torch
    from fastai.optimizer import Adam
    from torch.nn import functional as F
    from convlab.models import simple_cnn
    torch.manual_seed(0)
    x, y = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))
    nets = simple_cnn(), simple_cnn()
    nets[1].load_state_dict(nets[0].state_dict())
    ours, theirs = common.adam(nets[0]), Adam(nets[1].parameters(), lr=.01)
    for p in nets[1].parameters():
        if p.ndim < 2: theirs.state[p]['do_wd'] = False
    for g in ours.param_groups: g['lr'].fill_(.01)
    for _ in range(5):
        for net, opt in zip(nets, (ours, theirs)):
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
    for a, b in zip(*(net.parameters() for net in nets)): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_batches_are_shuffled_anew(common):
    import torch
    x = torch.arange(10)
    drawn = [b.tolist() for b, _ in common.batches(x, x, 4, 5, seed=0)]
    assert [len(b) for b in drawn] == [4]*5 and len(set(drawn[0]+drawn[1])) == len(set(drawn[2]+drawn[3])) == 8
    assert drawn == [b.tolist() for b, _ in common.batches(x, x, 4, 5, seed=0)] != [b.tolist() for b, _ in common.batches(x, x, 4, 5, seed=1)]


def test_parts_do_not_overlap(common, full_data):
    parts = common.digits()
    assert [len(parts[k][0]) for k in ('train', 'valid', 'test')] == [50_000, 10_000, 10_000]
    import torch
    assert torch.bincount(torch.cat([parts['train'][1], parts['valid'][1]])).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    both = torch.cat([parts['train'][0], parts['valid'][0]])
    assert abs(both.mean()) < 1e-3 and abs(both.std()-1) < 1e-3


@pytest.mark.parametrize('same', [[1, 1.0], [True, 1], [0.0, -0.0], [float('nan'), float('nan')]])
def test_what_a_table_cannot_tell_apart_is_one_setting(same):
    "Their runs would share a group of `summarize`, and each seed would count twice."
    with pytest.raises(ValueError, match='grid must name each only once'): sweep(run_once, {'lr': same}, 2, progress=False)


def test_a_recorded_result_named_as_a_setting_is_run_again(tmp_path):
    path = tmp_path/'runs.jsonl'
    old = dict(settings={'lr': 1}, seed=0, results={'lr': 7}, error=None, seconds=0.)
    path.write_text(json.dumps(old) + '\n')
    found = sweep(run_once, {'lr': [1]}, 1, path, progress=False)
    assert found.lr.tolist() == [1] and found.got.tolist() == [0]


def run_once(seed, lr): return {'got': seed*lr}
