"""Activation statistics: the same numbers as fastai's, on models and in situations that a learner need not read about."""
import copy
import gc
import inspect
import pickle
import subprocess
import sys
import warnings
from functools import partial

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import root
from hypothesis import given, settings, strategies as st
from convlab import compat  # noqa: F401  before fastai
from fastai.callback.hook import ActivationStats as FastaiStats
from fastai.vision.all import (Callback, CancelBatchException, CancelEpochException, CancelFitException, CancelTrainException,
                               CancelValidException, DataLoaders, F, Learner, TensorImageBW, accuracy, set_seed)
from torch import nn
from torch.utils.checkpoint import checkpoint
from convlab.study import activations, streaming
from convlab.study.activations import record_activations
from convlab.models import simple_cnn
from convlab.study.streaming import Reduction, Series, Statistic, Units, add_up, statistics
from convlab.stats import ActivationStats, kaiming_init, layer_outputs

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close('all')


def loaders(n=330, shape=(1, 28, 28), bs=32, seed=0, valid=70, image=False):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, *shape, generator=g), torch.randint(0, 10, (n,), generator=g)
    if image: x = TensorImageBW(x)
    return DataLoaders.from_dsets(list(zip(x, y)), list(zip(x[:valid], y[:valid])), bs=bs, device='cpu', num_workers=0)


def train(cbs, model=None, epochs=1, lr=0.01, dls=None, loss=F.cross_entropy, **kwargs):
    set_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='You are shadowing an attribute .modules')  # fastai's own callback
        learn = Learner(dls or loaders(**kwargs), model or simple_cnn(), loss_func=loss, metrics=accuracy, cbs=cbs)
        with learn.no_bar(), learn.no_logging(): learn.fit(epochs, lr)
    return learn


def hooks(model): return sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())


def same(theirs, ours, n_layers):
    for i in range(n_layers):
        for a, b in zip(theirs.layer_stats(i), ours.layer_stats(i)): np.testing.assert_allclose(list(b), list(a), rtol=1e-5, atol=1e-5)
        if ours._options.with_hist: np.testing.assert_allclose(ours.hist(i), theirs.hist(i), atol=1e-5)


# -- the same as fastai's ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('bs,lr', [(8, 0.06), (64, 0.001), (64, 1.), (330, 0.06)])
def test_equal_to_fastai(bs, lr):
    theirs, ours = FastaiStats(with_hist=True), ActivationStats(with_hist=True)
    train([theirs, ours], bs=bs, lr=lr, epochs=2)
    same(theirs, ours, 5)
    assert len(ours.stats) == len(theirs.stats) == 2*(330//bs)
    for a, b in zip(theirs.stats[0], ours.stats[0]):
        assert list(a) == list(b) and a['mean'] == pytest.approx(b['mean'], abs=1e-5)
        assert (a['hist'] == b['hist']).all()


@pytest.mark.parametrize('kwargs', [dict(every=3), dict(include_paramless=True), dict(with_hist=False, every=2, include_paramless=True)])
def test_equal_to_fastai_with_its_options(kwargs):
    kwargs = dict(with_hist=True) | kwargs
    theirs, ours = FastaiStats(**kwargs), ActivationStats(**kwargs)
    train([theirs, ours], epochs=2)
    same(theirs, ours, len(theirs.modules))
    assert len(theirs.layer_stats(0)[0]) == len(ours.layer_stats(0)[0])


def test_equal_to_fastai_on_chosen_modules():
    model = simple_cnn(norm=nn.BatchNorm2d)
    theirs, ours = FastaiStats(with_hist=True, modules=[model[1][0], model[2]]), ActivationStats(with_hist=True, modules=['1.0', model[2]])
    train([theirs, ours], model)
    same(theirs, ours, 2)
    assert ours.layers == ['1.0', '2']


def test_equal_to_fastai_with_batch_norm_and_negative_indices():
    theirs, ours = FastaiStats(with_hist=True), ActivationStats(with_hist=True)
    train([theirs, ours], simple_cnn(norm=nn.BatchNorm2d))
    for i in (-1, -2, -4): np.testing.assert_allclose(ours.hist(i), theirs.hist(i), atol=1e-5)
    assert ours.layers[-4] == '3.0' and ours.layer_stats(-10) == ours.layer_stats('0.0')


def test_equal_to_fastai_on_image_tensors_and_in_place_relu():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4*24*24, 10))
    theirs, ours = FastaiStats(with_hist=True), ActivationStats(with_hist=True)
    train([theirs, ours], model, image=True)
    same(theirs, ours, 3)
    assert (ours.hist(0)[0].expm1() < 32*4*26*26).all()
    near = ours.layer_stats(0)[2]
    assert max(near) < 1 and min(ours.layer_stats(0)[0]) < 0.2


def test_equal_to_fastai_in_channels_last():
    model = simple_cnn(norm=nn.BatchNorm2d).to(memory_format=torch.channels_last)
    theirs, ours = FastaiStats(with_hist=True), ActivationStats(with_hist=True)
    train([theirs, ours], model)
    same(theirs, ours, 10)
    assert ours.dead().units.tolist() == [8, 8, 16, 16, 32, 32, 64, 64, 10, 10]


def test_no_warning_and_the_run_is_unchanged():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        set_seed(0)
        def losses(cbs):
            set_seed(0)
            learn = Learner(loaders(), simple_cnn(), loss_func=F.cross_entropy, cbs=cbs)
            learn.dls.train.rng.seed(0)
            with learn.no_bar(), learn.no_logging(): learn.fit(1, 0.01)
            return torch.stack(learn.recorder.losses) if hasattr(learn.recorder.losses[0], 'shape') else learn.recorder.losses
        assert torch.equal(losses([]), losses([ActivationStats(with_hist=True, signed=True, valid=True, include_paramless=True)]))


# -- reductions ----------------------------------------------------------------------------------------------------------

edges = [0., -0., 0.05, 10., -10., 0.25, 9.75, 1e-30, -1e-30, float('inf'), -float('inf'), 1e30, -1e30]
edges += [float(np.nextafter(np.float32(e), np.float32(d))) for e in (0.25, 0.5, 1, 2, 4, 8, 9.75, 10, 0.05) for d in (-100, 100)]


def record(xs, batches=None, max_rows=10_000, **kwargs):
    "The table of a record of the tensors `xs`, and the record."
    series = Series(statistics(**(dict(with_hist=True) | kwargs)), max_rows)
    for i, x in enumerate(xs): series.add(x, batches[i] if batches else i)
    return series.table(), series


def counted(x, lo=0):
    "The histogram of `x` by comparing all numbers with all edges."
    x = x.double().flatten()
    edges = torch.arange(4*lo, 41)/4
    inner = [((x >= a) & ((x < b) if b < 10 else (x <= b))).sum() for a, b in zip(edges[:-1], edges[1:])]
    return torch.stack([(x < lo).sum(), *inner, (x > 10).sum()])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), scale=st.sampled_from([1e-3, 1., 5., 1e4]), signed=st.booleans(), seed=st.integers(0, 2**16),
       special=st.lists(st.sampled_from(edges), max_size=8), nans=st.integers(0, 3))
def test_histograms_count_every_number_in_its_bin(n, scale, signed, seed, special, nans):
    x, lo = torch.randn(n, generator=torch.Generator().manual_seed(seed))*scale, -10 if signed else 0
    x[:len(special)] = torch.tensor(special)[:n]
    x[n-min(n, nans):] = float('nan')
    before = x.clone()
    hist = record([x], lo=lo)[0]['hist'][0]
    assert torch.equal(hist.long(), counted(x, lo)) and hist.sum() == n - min(n, nans)
    assert torch.equal(x.nan_to_num(7.), before.nan_to_num(7.))
    if not signed: assert torch.equal(hist[1:-1], x.histc(40, 0, 10).double())


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 5000), shift=st.sampled_from([0., 1., 30., 1e3]), scale=st.sampled_from([1e-18, 1e-2, 1., 100., 1e18, 1e36]),
       two_sided=st.booleans(), seed=st.integers(0, 2**16))
def test_moments(n, shift, scale, two_sided, seed):
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed))*scale + shift
    rows, exact = record([x], two_sided=two_sided)[0], x.double()
    np.testing.assert_allclose(rows['mean'], exact.mean(), rtol=1e-12, atol=1e-12*scale)
    np.testing.assert_allclose(rows['std'], exact.std(), rtol=1e-9)
    assert rows['near_zero'].item() == ((x.abs() if two_sided else x) <= 0.05).double().mean() and rows['n'].item() == n


@pytest.mark.parametrize('big', [1e19, -1e19, 3e38, 1e-30])
def test_huge_and_tiny_numbers_have_a_finite_deviation(big):
    x = big*torch.linspace(.5, 1., 4096).view(64, 64)
    rows = record([x, -x], [0, 1], max_rows=100)[0]
    np.testing.assert_allclose(rows['std'], [x.double().std()]*2, rtol=1e-9)
    both = record([x, -x], [0, 0])[0]
    np.testing.assert_allclose(both['std'], torch.cat([x, -x]).double().std(), rtol=1e-9)
    np.testing.assert_allclose(both['mean'], 0, atol=abs(big)*1e-12)


@pytest.mark.parametrize('kwargs', [{}, dict(with_hist=True), dict(include_paramless=True)])
def test_a_model_without_numbers_is_refused_in_words(kwargs):
    with torch.device('meta'): model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with pytest.raises(ValueError, match='model must have numbers; .* on the device meta'), record_activations(model, **kwargs): model(torch.rand(2, 3, device='meta'))


@pytest.mark.parametrize('big', [1e40, 1e150, -1e150, 1e200, 1e300])
def test_double_precision_is_kept(big):
    "Deviations overflow from some 1e150, since they are added up as squares; means, shares and histograms do not."
    x = big*torch.linspace(.5, 1., 4096, dtype=torch.float64)
    rows = record([x, -x], [0, 1])[0]
    np.testing.assert_allclose(rows['mean'], [.75*big, -.75*big], rtol=1e-12)
    np.testing.assert_allclose(rows['std'], [x.std() if abs(big) < 1e151 else float('inf')]*2, rtol=1e-9)
    assert rows['near_zero'].tolist() == [float(big < 0), float(big > 0)] and rows['hist'][0, -1 if big > 0 else 0] == 4096


@settings(max_examples=40, deadline=None)
@given(batch=st.lists(st.integers(0, 12), min_size=2, max_size=30), most=st.integers(2, 14))
def test_pooling_is_exact(batch, most):
    xs = [torch.randn(int(1+b)*2, generator=torch.Generator().manual_seed(i))+b for i, b in enumerate(batch)]
    rows, series = record(xs, batch, max_rows=most)
    assert rows['batch'].tolist() == sorted({b//series.width*series.width for b in batch}) and len(rows['n']) <= most
    for i, key in enumerate(sorted({b//series.width for b in batch})):
        x = torch.cat([x for x, b in zip(xs, batch) if b//series.width == key])
        assert rows['n'][i] == len(x) and rows['near_zero'][i] == (x <= 0.05).double().mean()
        assert rows['mean'][i].item() == pytest.approx(x.double().mean().item(), abs=1e-9)
        assert rows['std'][i].item() == pytest.approx(x.double().std().item(), rel=1e-9)
        assert torch.equal(rows['hist'][i].long(), counted(x))


class ElsewhereTensor(torch.Tensor):
    "Says that it is on a GPU, so that its numbers are counted as there."
    is_cpu = False


@pytest.mark.parametrize('lo', [0, -10])
def test_a_gpu_counts_alike(lo):
    x = torch.cat([torch.randn(1000)*5, torch.tensor(edges), torch.full((3,), float('nan'))])
    there = streaming._histogram(x.as_subclass(ElsewhereTensor), lo)
    assert torch.equal(there.as_subclass(torch.Tensor), streaming._histogram(x, lo)) and torch.equal(streaming._histogram(x, lo), counted(x, lo))


def test_never_waits_for_a_device_in_a_batch():
    "A tensor on the device `meta` has no values: whatever asked for one would fail."
    series, units, x = Series(statistics(with_hist=True)), Units(1), torch.empty(64, 8, 14, 14, device='meta')
    for i in range(series.keep-1): series.add(x, i), units.see(x)
    assert len(series.noted) == series.keep-1 == 63 and units.seen.device.type == 'meta'
    assert all(o.device.type == 'meta' for _, _, kept in series.noted for o in kept)


def test_what_moves_to_another_device_is_one_record():
    series = Series([Statistic('size', Reduction(lambda x: torch.tensor(len(x)) if x.is_cpu else torch.empty((), device='meta'), add_up), lambda rows, n: rows)])
    series.add(torch.ones(3), 0)
    assert len(series.noted) == 1
    series.add(torch.empty(3, device='meta'), 1)
    assert len(series.noted) == 1 and series.rows[0].tolist() == [3]  # the first row has moved on before the second came


@settings(max_examples=60, deadline=None)
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=5), axis=st.integers(-5, 4), sparse=st.booleans(), seed=st.integers(0, 2**16),
       nans=st.integers(0, 4), dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]))
def test_units_that_have_been_active(shape, axis, sparse, seed, nans, dtype):
    axis = axis % len(shape)
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) - (2 if sparse else 0)).to(dtype)
    x.view(-1)[:nans] = float('nan')
    if len(shape) == 4 and seed % 2: x = x.to(memory_format=torch.channels_last)
    units, expected = Units(axis), torch.zeros(shape[axis], dtype=torch.bool)
    for i in range(3):
        units.see(x.roll(i, 0)-i)
        expected |= torch.tensor([bool((o > 0).any()) for o in (x.roll(i, 0)-i).movedim(axis, 0)])
        assert torch.equal(units.seen, expected)
    units.forget()
    units.see(x*0-1)
    assert not units.seen.any()


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_a_unit_beside_what_is_not_finite(bad):
    x = torch.full((2, 4, 3), -1.)
    x[0, :, 0] = bad
    x[1, 1, 2], x[0, 2, 1] = 5., 1e-38
    units = Units(1)
    units.see(x)
    assert units.seen.tolist() == ([True]*4 if bad == float('inf') else [False, True, True, False])


def test_a_further_statistic_is_one_record(monkeypatch):
    "It then has its column, its key and its curve."
    largest = Statistic('largest', Reduction(torch.Tensor.max, lambda rows, n, groups: torch.stack([rows[groups.of == i].max() for i in range(len(groups.keys))])),
                        lambda rows, n: rows, 'largest number')
    monkeypatch.setattr(activations, 'statistics', lambda *args: statistics(*args) + [largest])
    model = nn.Linear(3, 2)
    with record_activations(model, with_hist=True, max_batches=2) as own: ys = [model(torch.randn(4, 3)) for _ in range(4)]
    expected = [max(a.max().item(), b.max().item()) for a, b in zip(ys[::2], ys[1::2])]
    assert own.to_frame().columns.tolist() == ['phase', 'batch', 'layer', 'n', 'mean', 'std', 'near_zero', 'largest']
    assert own.to_frame().largest.tolist() == expected == list(own.layer_stats(0)[3])
    assert [o[0]['largest'] for o in own.stats] == expected and list(own.stats[0][0]) == ['mean', 'std', 'near_zero', 'hist', 'largest']
    axs = own.plot_layer_stats(0)
    assert len(axs) == 4 and axs[3].get_title() == 'largest number' and axs[3].lines[0].get_ydata().tolist() == expected


# -- other models --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    class Cast(nn.Module):
        def forward(self, x): return x.to(dtype)
    class Back(nn.Module):
        def forward(self, x): return x.float()
    model = nn.Sequential(nn.Flatten(), Cast(), nn.Linear(784, 40).to(dtype), nn.ReLU(), nn.Linear(40, 10).to(dtype), Back())
    theirs, ours = FastaiStats(with_hist=True), ActivationStats(with_hist=True)
    train([theirs, ours], model, lr=0.001)
    same(theirs, ours, 2)
    assert all(np.isfinite(ours.layer_stats(0)[1]))


def test_half_precision_beyond_its_sums():
    "65504 is the largest float16: sums must not be taken in it."
    rows = record([torch.full((100, 100), 60000., dtype=torch.float16)])[0]
    assert rows['mean'].item() == 60000 and rows['std'].item() == 0 and rows['hist'][0, -1] == 10_000


class Rnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(28, 12, batch_first=True), nn.Linear(12, 10)

    def forward(self, x):
        out, (h, c) = self.rnn(x.squeeze(1))
        return self.head(h[-1])


def test_tuple_outputs():
    theirs, ours = FastaiStats(with_hist=True), ActivationStats(with_hist=True)
    model = Rnn()
    train([theirs, ours], model)
    assert ours.layers == ['rnn', 'head'] and theirs.stats[0][0][2]['mean'] == pytest.approx(ours.layer_stats('rnn:2')[0][0], abs=1e-6)
    for part, name in enumerate(['rnn', 'rnn:1', 'rnn:2']):
        assert [b[0][part]['std'] for b in theirs.stats] == pytest.approx(list(ours.layer_stats(name)[1]), abs=1e-6)
        np.testing.assert_allclose(torch.stack([b[0][part]['hist'] for b in theirs.stats]).t().log1p(), ours.hist(name), atol=1e-5)
    ours.plot_layer_stats('rnn:1')
    assert ours.dead().set_index('layer').loc['rnn'].units == 12
    with pytest.raises(ValueError, match='rnn:3'): ours.layer_stats('rnn:3')


def test_outputs_that_are_dictionaries_none_or_whole_numbers():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.none, self.ints, self.w = nn.Linear(784, 10), nn.Identity(), nn.Identity(), nn.Parameter(torch.ones(1))
        def forward(self, x): return {'out': self.lin(x.flatten(1)*self.w), 'none': self.none(None), 'ints': self.ints(torch.arange(3))}
    ours = ActivationStats(with_hist=True, modules=['lin', 'none', 'ints', ''])
    model = Odd()
    learn = Learner(loaders(), model, loss_func=lambda p, y: F.cross_entropy(p['out'], y), cbs=ours)
    class NoPreds(Callback):
        def before_validate(self): raise CancelValidException
    learn.add_cb(NoPreds())
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 0.01)
    assert ours.layers == ['lin', 'none', 'ints', 'Odd']
    assert list(ours.layer_stats('lin')[0]) == list(ours.layer_stats('Odd')[0])
    for name in ('none', 'ints'):
        with pytest.raises(ValueError, match='no such tensor'): ours.layer_stats(name)


def test_a_module_used_twice_is_pooled():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.act = nn.Linear(784, 784), nn.Linear(784, 10), nn.ReLU()
        def forward(self, x): return self.b(self.act(self.a(self.act(self.a(x.flatten(1))))))
    model, seen = Twice(), []
    model.a.register_forward_hook(lambda m, i, o: seen.append(o.detach()) if m.training else None)
    ours = ActivationStats(with_hist=True, include_paramless=True)
    train(ours, model)
    pairs = [torch.cat(p).flatten() for p in zip(seen[::2], seen[1::2])]
    mean, std, near = ours.layer_stats('a')
    assert len(mean) == len(pairs) == 10
    assert list(mean) == pytest.approx([p.mean().item() for p in pairs], abs=1e-6)
    assert list(std) == pytest.approx([p.std().item() for p in pairs], abs=1e-5)
    assert torch.equal(ours.hist('a').expm1().round()[:, 0], pairs[0].histc(40, 0, 10))


def test_gradients_instead_of_outputs():
    model, grads = simple_cnn(), []
    model[0][0].register_forward_hook(lambda m, i, o: None if o.requires_grad and o.register_hook(grads.append) else None)
    ours = ActivationStats(is_forward=False)
    train(ours, model)
    assert list(ours.layer_stats('0.0')[1]) == pytest.approx([g.std().item() for g in grads], rel=1e-4)
    assert hooks(model) == 1


# -- training and validation ---------------------------------------------------------------------------------------------

def test_validation_is_apart():
    ours, plain = ActivationStats(with_hist=True, valid=True), ActivationStats(with_hist=True)
    train([plain, ours], epochs=2)
    assert len(ours.layer_stats(0)[0]) == 20 and len(ours.layer_stats(0, valid=True)[0]) == 6
    assert list(ours.layer_stats(0)[1]) == list(plain.layer_stats(0)[1])
    frame = ours.to_frame()
    assert frame.columns.tolist() == ['phase', 'batch', 'layer', 'n', 'mean', 'std', 'near_zero']
    assert frame.groupby('phase').size().to_dict() == {'train': 5*20, 'valid': 5*6}
    assert frame.query("phase == 'valid' and layer == '4'")['n'].tolist() == [320, 320, 60]*2
    with pytest.raises(RuntimeError, match='valid=True'): plain.layer_stats(0, valid=True)
    ours.plot_layer_stats(valid=True), ours.plot_layer_stats(0, valid=True), ours.color_dim(0, valid=True)


def test_validating_afterwards_loses_nothing():
    ours = ActivationStats(with_hist=True)
    learn = train(ours)
    before = list(ours.layer_stats(0)[0])
    with learn.no_bar(), learn.no_logging(): learn.validate(), learn.get_preds()
    assert list(ours.layer_stats(0)[0]) == before and hooks(learn.model) == 0


def test_training_again_starts_anew():
    ours = ActivationStats()
    learn = train(ours, epochs=2)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 0.01)
    assert len(ours.layer_stats(0)[0]) == 10 and learn.activation_stats is ours


# -- dead units ----------------------------------------------------------------------------------------------------------

def test_dead_units():
    model = simple_cnn()
    with torch.no_grad():
        model[1][0].weight[[2, 5]] = 0
        model[1][0].bias[[2, 5]] = torch.tensor([-1., 0.])
    ours = ActivationStats(include_paramless=True)
    train(ours, model, lr=1e-9, epochs=2)
    for name in ('1.0', '1.1'):
        row = ours.dead().set_index('layer').loc[name]
        assert (row.units, row.dead, row.which) == (16, 2, [2, 5])
    assert ours.dead(0).equals(ours.dead(1)) and ours.dead().set_index('layer').loc['0.0'].dead == 0


def test_a_unit_that_wakes_is_not_dead():
    asleep = -torch.ones(4, 3, 2, 2)
    awake = asleep.clone()
    awake[3, 1, 0, 1] = 1e-6
    units = Units(1)
    for x in [asleep]*150 + [awake] + [asleep]*50: units.see(x)
    assert units.seen.tolist() == [False, True, False]


# -- every, memory -------------------------------------------------------------------------------------------------------

def test_memory_is_bounded():
    series = Series(statistics(with_hist=True), max_rows=50)
    sizes, total, n = [], 0., 3000
    for i in range(n):
        x = torch.full((2, 3), i/n*8)
        total += x.sum().item()
        series.add(x, i)
        waiting = [o for _, _, kept in series.noted for o in kept]
        if i % 500 == 499: sizes.append(sum(v.numel()*v.element_size() for v in [*waiting, series.batch, series.n, *series.rows]))
    rows = series.table()
    assert len(rows['n']) <= 50 and series.width == 64
    assert max(sizes) < (50 + series.keep)*400
    assert rows['n'].sum() == 6*n and (rows['n']*rows['mean']).sum().item() == pytest.approx(total, rel=1e-5)
    assert rows['hist'].sum() == 6*n and rows['batch'].tolist() == list(range(0, n, 64))


def test_few_rows_pool_what_many_rows_show():
    few, many = ActivationStats(with_hist=True, max_batches=4), ActivationStats(with_hist=True)
    train([few, many], epochs=2)
    assert len(many.layer_stats(0)[0]) == 20 and len(few.layer_stats(0)[0]) == 3
    assert few.hist(0).expm1().sum(1).numpy() == pytest.approx(many.hist(0).expm1().sum(1).numpy(), rel=1e-4)
    assert few.layer_stats(0)[0][0] == pytest.approx(np.mean(many.layer_stats(0)[0][:8]), abs=1e-6)
    few.color_dim(0)
    assert plt.gca().images[0].get_extent()[:2] == [0, 24]


# -- however training ends -----------------------------------------------------------------------------------------------

cancels = [CancelBatchException, CancelTrainException, CancelEpochException, CancelFitException]
events = ['before_epoch', 'before_train', 'before_batch', 'after_pred', 'after_loss', 'after_backward', 'after_step', 'after_batch',
          'after_train', 'before_validate', 'after_validate', 'after_epoch', 'after_fit', 'before_fit']


class Break(Callback):
    "Raise `exc` at `event`, at its second time if it comes more than once."
    def __init__(self, event, exc, order=5):
        self.exc, self.seen, self.order, self.at = exc, 0, order, 2 if event not in ('before_fit', 'after_fit') else 1
        setattr(self, event, self.hit)

    def hit(self):
        self.seen += 1
        if self.seen == self.at: raise self.exc


@pytest.mark.parametrize('event,order', [(e, 5) for e in events] + [(e, -60) for e in ('before_fit', 'before_batch', 'after_fit')])
@pytest.mark.parametrize('exc', [KeyboardInterrupt(), RuntimeError('broken')], ids=['interrupt', 'error'])
def test_hooks_are_removed_after_an_error(event, exc, order):
    ours, model = ActivationStats(with_hist=True), simple_cnn()
    learn = Learner(loaders(66, valid=32), model, loss_func=F.cross_entropy, cbs=[ours, Break(event, exc, order)])
    with pytest.raises(type(exc)), learn.no_bar(), learn.no_logging(): learn.fit(2, 0.01)
    assert hooks(model) == 0
    if event != 'before_fit': assert len(ours.layer_stats(0)[0]) > 0
    learn.remove_cb(Break)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 0.01)
    assert hooks(model) == 0 and len(ours.layer_stats(0)[0]) == 2
    assert not vars(learn).keys() & vars(Learner).keys()  # no method of the Learner has been replaced


def test_no_hook_is_there_between_batches_and_none_is_saved():
    "Nor on a copy of the model, or in a file of it, made while it is trained."
    found, files = [], []
    class Look(Callback):
        order = 2000
        def note(self): found.append(hooks(self.learn.model) + sum(len(m._forward_pre_hooks) for m in self.learn.model.modules()))
        def after_pred(self): self.note()
        def after_batch(self): self.note(), files.append(pickle.dumps(self.learn.model)), copy.deepcopy(self.learn.model)
        def before_epoch(self): self.note()
    train([ActivationStats(with_hist=True, valid=True), Look()])
    assert len(found) > 20 and set(found) == {0} and not any(b'convlab.study' in o for o in files)


class Interrupted(nn.Module):
    "Raises `exc` in its third call."
    def __init__(self, exc):
        super().__init__()
        self.lin, self.exc, self.calls = nn.Linear(784, 10), exc, 0

    def forward(self, x):
        self.calls += 1
        y = self.lin(x.flatten(1))
        if self.calls == 3: raise self.exc
        return y


@pytest.mark.parametrize('exc', [KeyboardInterrupt(), RuntimeError('broken')], ids=['interrupt', 'error'])
def test_an_interrupt_inside_forward(exc):
    ours, model = ActivationStats(), Interrupted(exc)
    learn = Learner(loaders(), model, loss_func=F.cross_entropy, cbs=ours)
    with pytest.raises(type(exc)), learn.no_bar(), learn.no_logging(): learn.fit(1, 0.01)
    if isinstance(exc, Exception): assert hooks(model) == 0
    before = list(ours.layer_stats(0)[0])
    assert len(before) == 3
    model(torch.randn(4, 784))  # the hooks that an interrupt leaves go with the next call, and note nothing
    assert hooks(model) == 0 and not model._forward_pre_hooks and list(ours.layer_stats(0)[0]) == before


@pytest.mark.parametrize('exc', cancels, ids=lambda e: e.__name__)
def test_hooks_and_cancelling(exc):
    ours = ActivationStats()
    learn = train([ours, Break('after_pred', exc())], epochs=2)
    assert hooks(learn.model) == 0
    assert len(ours.layer_stats(0)[0]) == {CancelBatchException: 20, CancelTrainException: 12, CancelEpochException: 12, CancelFitException: 2}[exc]


def test_fastais_arguments_for_hooks_are_taken():
    learn = train(ActivationStats(remove_end=False, detach=False, cpu=False))
    assert hooks(learn.model) == 0 and len(learn.activation_stats.layer_stats(0)[0]) == 10


def test_looking_for_a_rate_leaves_the_records(tmp_path):
    ours = ActivationStats(with_hist=True)
    learn = train(ours)
    learn.path, before = tmp_path, ours.to_frame()
    with learn.no_bar(), learn.no_logging():
        for _ in range(2): learn.lr_find(num_it=6, show_plot=False)
        assert ours.to_frame().equals(before) and len(ours._recorder.dead()) == 1 and hooks(learn.model) == 0
        learn.fit(2, 0.01)
        assert len(ours.layer_stats(0)[0]) == 20


def test_export_and_pickle(tmp_path):
    learn = train(ActivationStats(with_hist=True))
    learn.path = tmp_path
    again = pickle.loads(pickle.dumps(learn.activation_stats.to_frame()))
    assert len(again) == 50


def test_nothing_keeps_the_activations():
    ours = ActivationStats(with_hist=True)
    learn = train(ours)
    gc.collect()
    big = [o for o in gc.get_objects() if type(o) is torch.Tensor and o.shape[:1] == (32,) and o.ndim == 4 and o.shape[1] > 1]
    assert learn and not [o for o in big if o.requires_grad or o.grad_fn is not None]


# -- unusual input -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_activations_that_are_not_finite(bad):
    class Spoil(nn.Module):
        def __init__(self):
            super().__init__()
            self.n, self.w = 0, nn.Parameter(torch.ones(1))
        def forward(self, x):
            self.n += 1
            x = x*self.w
            return torch.where(torch.arange(x.shape[1]) == 3, torch.tensor(bad), x) if self.n > 4 and self.training else x
    ours, theirs = ActivationStats(with_hist=True), FastaiStats(with_hist=True)
    train([theirs, ours], nn.Sequential(nn.Flatten(), Spoil(), nn.Linear(784, 10)), lr=0.)
    np.testing.assert_allclose(ours.hist(0), theirs.hist(0), atol=1e-5)
    for a, b in zip(theirs.layer_stats(0), ours.layer_stats(0)): np.testing.assert_allclose(list(b), list(a), rtol=1e-5, atol=1e-5)
    assert np.isfinite(ours.layer_stats(0)[1][3]) and not np.isfinite(ours.layer_stats(0)[1][4])
    ours.plot_layer_stats(0)
    assert 'not finite from batch 4' in plt.gcf().axes[0].texts[0].get_text()
    ours.plot_layer_stats(), ours.color_dim(0), ours.to_frame(), ours.dead()


def test_model_without_parameters():
    class Mean(nn.Module):
        def forward(self, x): return x.flatten(1)[:, :10]
    ours = ActivationStats(with_hist=True)
    Learner(loaders(), Mean(), loss_func=F.cross_entropy, cbs=ours)
    assert ours.layers == []
    none = ActivationStats(with_hist=True, modules=[])
    train(none)
    for o in (ours, none):
        for f in (lambda: o.layer_stats(0), lambda: o.plot_layer_stats(-1), lambda: o.color_dim(0), o.plot_layer_stats, o.to_frame, o.dead, lambda: o.stats):
            with pytest.raises(ValueError, match='include_paramless=True'): f()


def test_before_training():
    ours = ActivationStats(with_hist=True)
    Learner(loaders(), simple_cnn(), loss_func=F.cross_entropy, cbs=ours)
    assert ours.layers == ['0.0', '1.0', '2.0', '3.0', '4']
    for f in (lambda: ours.layer_stats(0), lambda: ours.hist(0), lambda: ours.plot_layer_stats(-2), lambda: ours.color_dim(-2), ours.plot_layer_stats,
              ours.to_frame, ours.dead, lambda: ours.stats):
        with pytest.raises(RuntimeError, match='train first'): f()
    with pytest.raises(RuntimeError, match='Learner'): ActivationStats().layer_stats(0)


def test_layers_that_do_not_exist():
    ours = ActivationStats()
    train(ours)
    for layer, error, text in (('conv9', KeyError, "'0.0'"), (5, IndexError, '-5 to 4'), (-6, IndexError, '-6'), (0.5, TypeError, '0.5'), (None, TypeError, 'None')):
        with pytest.raises(error, match=text): ours.layer_stats(layer)
        if layer is not None:
            with pytest.raises(error, match=text): ours.plot_layer_stats(layer)
    with pytest.raises(ValueError, match='with_hist=True'): ours.color_dim(0)
    with pytest.raises(ValueError, match='with_hist=True'): ours.hist(0)
    with pytest.raises(IndexError, match='epoch'): ours.dead(3)
    with pytest.raises(KeyError, match='nothing'): train(ActivationStats(modules=['nothing']))


@pytest.mark.parametrize('error,kwargs', [
    (ValueError, dict(every=0)), (TypeError, dict(every=1.5)), (ValueError, dict(every=-1)), (TypeError, dict(every=True)),
    (ValueError, dict(max_batches=1)), (TypeError, dict(max_batches=None)), (TypeError, dict(modules='conv')), (TypeError, dict(modules=3)),
    (TypeError, dict(modules=nn.ReLU())), (TypeError, dict(modules=[0]))])
def test_arguments_are_checked(error, kwargs):
    with pytest.raises(error, match=next(iter(kwargs))): ActivationStats(**kwargs)


# -- pictures ------------------------------------------------------------------------------------------------------------

def test_pictures():
    ours = ActivationStats(with_hist=True, signed=True, include_paramless=True, every=2)
    train(ours, epochs=2)
    ours.plot_layer_stats(-3)
    fig = plt.gcf()
    assert [a.get_title() for a in fig.axes] == ['mean', 'standard deviation', 'near zero: share up to 0.05'] and 'after ReLU' in fig.get_suptitle()
    assert fig.axes[1].lines[0].get_ydata().tolist() == pytest.approx(list(ours.layer_stats(-3)[1]))
    ours.plot_layer_stats('0.0')
    assert 'before ReLU' in plt.gcf().get_suptitle()
    ours.color_dim('0.0', overflow=True)
    ax, bar = plt.gcf().axes
    assert ax.images[0].get_array().shape == (82, 10) and ax.get_ylabel() == 'value' and bar.get_ylabel() == 'log(1 + count)'
    _, given = plt.subplots()
    ours.color_dim(0, ax=given)
    np.testing.assert_array_equal(given.images[0].get_array(), ours.hist(0))
    ours.plot_layer_stats()
    assert len(plt.gcf().axes[0].lines) == len(ours.layers)


def test_two_sided():
    one, two = ActivationStats(), ActivationStats(two_sided=True, with_hist=True)
    train([one, two])
    assert all(a > b for a, b in zip(one.layer_stats(0)[2], two.layer_stats(0)[2]))
    x = torch.tensor([-1., -0.05, -0.04, 0., 0.05, 0.06])
    assert record([x], two_sided=True)[0]['near_zero'].item() == 4/6 and record([x])[0]['near_zero'].item() == 5/6


# -- without fastai, on a GPU --------------------------------------------------------------------------------------------

def watch_tensors(device='cpu', **kwargs):
    "The records of a network on `device`, always of the same tensors."
    torch.manual_seed(0)
    model = simple_cnn(norm=nn.BatchNorm2d).double().to(device)  # so that both compute the same activations
    with record_activations(model, with_hist=True, valid=True, **kwargs) as records:
        for i in range(70):
            x = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(i), dtype=torch.float64)*3
            model.train(i % 10 != 9)(x.to(device))
    return records


def assert_equal(a, b):
    one, two = a.to_frame(), b.to_frame()
    assert one[['phase', 'batch', 'layer', 'n']].equals(two[['phase', 'batch', 'layer', 'n']])
    for key in ('mean', 'std', 'near_zero'): np.testing.assert_allclose(one[key], two[key], rtol=1e-5, atol=1e-6)
    for name in a.layers: assert torch.equal(a.hist(name, overflow=True), b.hist(name, overflow=True))
    assert a.dead().equals(b.dead())


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_cuda_is_cpu(): assert_equal(watch_tensors('cuda'), watch_tensors())


def test_without_fastai(tmp_path):
    "The same records in an interpreter where neither can be imported."
    here = watch_tensors()
    code = f"""
import sys
for name in ('fastai', 'torchvision', 'scipy', 'PIL'): sys.modules[name] = None
sys.path.insert(0, {str(root/'tests')!r})
import torch
from torch import nn
from convlab.models import simple_cnn
from convlab.study.activations import record_activations
torch.set_num_threads(1)
{inspect.getsource(watch_tensors)}
watch_tensors().to_frame().to_pickle({str(tmp_path/'frame')!r})
import pickle
model = simple_cnn()
with record_activations(model): assert pickle.dumps(model)  # as one saves a model in the middle of training
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    there, frame = pd.read_pickle(tmp_path/'frame'), here.to_frame()
    assert there.shape == frame.shape
    for key in ('mean', 'std', 'near_zero'): np.testing.assert_allclose(there[key], frame[key], rtol=1e-5, atol=1e-6)


def test_more_numbers_in_a_bin_than_float32_can_count():
    rows = record([torch.full((2**24+3,), 0.03)])[0]
    assert rows['hist'][0, 1] == 2**24+3 == rows['n'].item() and rows['near_zero'].item() == 1
    x = torch.full((2**24+3,), 0.3)
    assert streaming._histogram(x.as_subclass(ElsewhereTensor), 0)[2] == 2**24+3


# -- a loop without fastai -----------------------------------------------------------------------------------------------

def test_a_plain_loop_records_what_the_callback_does():
    dls, cb = loaders(), ActivationStats(with_hist=True, valid=True)
    model = simple_cnn()
    again = copy.deepcopy(model)
    train(cb, model, epochs=2, lr=0., dls=dls)
    xs, valid = [torch.stack([x for x, _ in dl.dataset]) for dl in (dls.train, dls.valid)]
    with record_activations(again, with_hist=True, valid=True) as own:
        for _ in range(2):
            again.train()
            for b in torch.arange(320).split(32): again(xs[b])
            again.eval()
            for b in torch.arange(70).split(32): again(valid[b])
            own.new_epoch()
    a, b = cb.to_frame(), own.to_frame()
    assert a.groupby(['phase', 'layer']).batch.apply(list).to_dict() == b.groupby(['phase', 'layer']).batch.apply(list).to_dict()
    for col in ('mean', 'std', 'near_zero'):  # validation comes in one order; training is shuffled by the loader
        np.testing.assert_allclose(a.query("phase == 'valid'")[col], b.query("phase == 'valid'")[col], rtol=1e-4, atol=1e-6)
    assert len(own._recorder.dead()) == 2 and own.dead(0).equals(own.dead(1))


def test_only_calls_of_the_model_itself_are_batches():
    model = simple_cnn()
    with record_activations(model) as own:
        for _ in range(3): model(torch.randn(4, 1, 28, 28))
        model[0](torch.randn(4, 1, 28, 28))
        with pytest.raises(RuntimeError): model(torch.randn(4, 2, 28, 28))
        model[0](torch.randn(4, 1, 28, 28))
        assert own.to_frame().query("layer == '0.0'").batch.tolist() == [0, 1, 2]
        model(torch.randn(4, 1, 28, 28))
    model(torch.randn(4, 1, 28, 28))
    assert own.to_frame().query("layer == '0.0'").batch.tolist() == [0, 1, 2, 4]
    assert hooks(model) == 0 and not model._forward_pre_hooks


class Again(nn.Module):
    "Layers of which some are computed again during `backward`."
    def __init__(self, reentrant, nested=False):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(784, 8), nn.Linear(8, 8), nn.Linear(8, 10)
        self.reentrant, self.nested = reentrant, nested

    def forward(self, x):
        again = partial(checkpoint, use_reentrant=self.reentrant)
        inner = (lambda x: again(self.b, x)) if self.nested else self.b
        return self.c(again(lambda x: inner(self.a(x)).relu(), x.flatten(1).requires_grad_()))


@pytest.mark.parametrize('reentrant', [True, False])
@pytest.mark.parametrize('nested', [True, False])
@pytest.mark.parametrize('is_forward', [True, False])
def test_checkpointed_layers_count_once(reentrant, nested, is_forward):
    torch.manual_seed(0)
    model = Again(reentrant, nested)
    plain, ours, usual = copy.deepcopy(model), ActivationStats(with_hist=True, is_forward=is_forward), ActivationStats(with_hist=True, is_forward=is_forward)
    plain.forward = lambda x: plain.c(plain.b(plain.a(x.flatten(1))).relu())
    for m, cb in ((model, ours), (plain, usual)):
        dls = loaders()
        dls.train.rng.seed(0)
        train(cb, m, dls=dls)
    if reentrant and not is_forward:  # the gradients of what is computed without a graph, and again later, are lost: that is said
        for name in 'ab':
            with pytest.raises(ValueError, match='no record.*without gradients'): ours.layer_stats(name)
        assert ours.layer_stats('c') == usual.layer_stats('c') and [o[:2] for o in ours.stats] == [[None, None]]*10
        return
    one, two = ours.to_frame(), usual.to_frame()
    assert one[['batch', 'layer', 'n']].equals(two[['batch', 'layer', 'n']])
    for key in ('mean', 'std', 'near_zero'): np.testing.assert_allclose(one[key], two[key], rtol=1e-5, atol=1e-7)
    for name in 'abc': assert torch.equal(ours.hist(name), usual.hist(name))
    with record_activations(model, is_forward=is_forward) as own: model.train()(torch.randn(4, 1, 28, 28)).sum().backward()
    assert own.to_frame().n.tolist() == [32, 32, 40]


@pytest.mark.parametrize('frozen', [['0.0'], ['0.0', '1.0'], ['0.0', '1.0', '2.0', '3.0']])
def test_frozen_layers_have_no_gradients_and_keep_their_place(frozen):
    model, ours = simple_cnn(), ActivationStats(with_hist=True, is_forward=False)
    for name in frozen: model.get_submodule(name).requires_grad_(False)
    train(ours, model)
    n = len(frozen)
    for batch in ours.stats: assert len(batch) == 5 and batch[:n] == [None]*n and all(o is not None for o in batch[n:])
    assert [o[n]['std'] for o in ours.stats] == list(ours.layer_stats(n)[1])
    for i, name in enumerate(frozen):
        for layer in (i, i-5, name):
            with pytest.raises(ValueError, match='no record.*gradient.*frozen'): ours.layer_stats(layer)
    assert ours.to_frame().layer.unique().tolist() == ours.layers[n:]
    assert len(ours.plot_layer_stats()[0].lines) == 5-n
    everything = ActivationStats(is_forward=False, modules=frozen)
    train(everything, model)
    with pytest.raises(ValueError, match='none of the layers that are watched got a gradient.*frozen'): everything.plot_layer_stats()


class Sometimes(nn.Module):
    "Passes over its second layer in each batch number `every`."
    def __init__(self, every):
        super().__init__()
        self.a, self.b, self.n, self.every = nn.Linear(4, 4), nn.Linear(4, 4), 0, every

    def forward(self, x):
        self.n += 1
        return self.a(x) if self.n % self.every == 0 else self.b(self.a(x))


def test_a_layer_that_is_called_now_and_then_is_in_its_batches():
    model = Sometimes(3)
    with record_activations(model) as own:
        for _ in range(6): model(torch.randn(2, 4))
    assert [o[1] is None for o in own.stats] == [False, False, True]*2 and all(o[0] is not None for o in own.stats)
    assert [o[1]['mean'] for o in own.stats if o[1]] == list(own.layer_stats('b')[0])


def test_gradients_of_a_plain_loop_come_late():
    "Two calls, then one backward pass: gradients arrive in the other order, and each knows its batch."
    model = nn.Linear(3, 2)
    with record_activations(model, is_forward=False) as own:
        one, two = model(torch.randn(4, 3)), model(torch.randn(6, 3))
        (one.sum() + 5*two.sum()).backward()
    assert own.to_frame()[['batch', 'n', 'mean']].values.tolist() == [[0, 8, 1], [1, 12, 5]]
    with pytest.raises(ValueError, match='is_forward'): own.dead()


def test_every_counts_true_batches():
    ours = ActivationStats(every=3, with_hist=True)
    train(ours, epochs=2)
    assert ours.to_frame().query("layer == '4'").batch.tolist() == [0, 3, 6, 9, 12, 15, 18]
    assert ours.plot_layer_stats(0)[0].lines[0].get_xdata().tolist() == [0, 3, 6, 9, 12, 15, 18]
    assert ours.color_dim(0).images[0].get_extent()[:2] == [0, 21]
    few = ActivationStats(every=3, max_batches=4, with_hist=True)
    train(few, epochs=2)
    assert few.to_frame().query("layer == '4'").batch.tolist() == [0, 6, 12, 18]
    assert few.color_dim(0).images[0].get_extent()[:2] == [0, 24]


def test_a_batch_without_the_layer_stays_blank():
    model = Sometimes(4)
    with record_activations(model, with_hist=True) as own:
        for _ in range(7): model(torch.randn(2, 4))
    blank = np.isnan(own.color_dim('b').images[0].get_array().filled(np.nan)).all(0)
    assert blank.tolist() == [False, False, False, True, False, False, False]
    own.plot_layer_stats()


def test_readable_when_the_callback_has_no_learner_any_more():
    for way in ('fit', 'added'):
        learn = Learner(loaders(), simple_cnn(), loss_func=F.cross_entropy)
        ours = ActivationStats(with_hist=True)
        with learn.no_bar(), learn.no_logging():
            if way == 'fit': learn.fit(1, 0.01, cbs=ours)
            else:
                with learn.added_cbs(ours): learn.fit(1, 0.01)
        assert ours.learn is None and not hasattr(learn, 'activation_stats')
        assert ours.layers[-1] == '4' and len(ours.layer_stats(-1)[0]) == 10 and len(ours.stats) == 10
        ours.plot_layer_stats(), ours.plot_layer_stats(0), ours.color_dim(0), ours.dead(), ours.to_frame()
        assert '0.0 (Conv2d, before ReLU)' == plt.figure(plt.get_fignums()[1]).get_suptitle()


# -- which layers --------------------------------------------------------------------------------------------------------

class Tokens(nn.Module):
    "Digits as 28 tokens of 28 numbers through `layer`."
    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(28, 10)

    def forward(self, x):
        out = self.layer(x.squeeze(1))
        return self.head(out.mean(1))


class OwnAttention(nn.Module):
    "Attention with weights of its own, and parts that it never calls."
    def __init__(self):
        super().__init__()
        self.bias, self.qkv, self.proj = nn.Parameter(torch.zeros(28)), nn.Linear(28, 84), nn.Linear(28, 28)

    def forward(self, x):
        q, k, v = F.linear(x, self.qkv.weight).chunk(3, -1)
        return F.linear(F.scaled_dot_product_attention(q, k, v), self.proj.weight) + self.bias


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x): return super().forward(x, x, x)[0]


@pytest.mark.parametrize('layer,expected', [
    (SelfAttention(28, 4, batch_first=True), ['layer', 'head']),
    (OwnAttention(), ['layer', 'head']),
    (nn.TransformerEncoderLayer(28, 4, 30, batch_first=True), [f'layer.{o}' for o in ('self_attn', 'linear1', 'linear2', 'norm1', 'norm2')] + ['head']),
    (nn.utils.parametrizations.weight_norm(nn.Linear(28, 28, bias=False)), ['layer', 'head'])],
    ids=['multihead', 'own', 'encoder', 'weight_norm'])
def test_attention_and_what_it_is_made_of(layer, expected):
    model, x = Tokens(layer), torch.randn(4, 1, 28, 28)
    with record_activations(model, valid=True, with_hist=True) as own:
        for training in (True, False): model.train(training)(x)
    frame = own.to_frame()
    for phase in ('train', 'valid'):
        got = [o for o in frame.query(f"phase == '{phase}'").layer if ':' not in o]
        assert got == expected
    assert set(own.dead().units) <= {28, 30, 10}
    if len(expected) == 2:
        with torch.no_grad(): assert frame['mean'].iloc[-2] == pytest.approx(model.layer(x.squeeze(1)).mean().item(), abs=1e-6)


def test_a_shared_module_is_one_layer():
    act, lin = nn.ReLU(), nn.Linear(8, 8)
    model = nn.Sequential(lin, act, nn.Sequential(lin, act))
    with record_activations(model, include_paramless=True) as own: model(torch.randn(2, 8))
    assert own.layers == ['0', '1'] and own.to_frame().n.tolist() == [32, 32]


class Channels(nn.LayerNorm):
    "Channels first, as ConvNeXt has it."
    def forward(self, x): return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class OwnRms(nn.Module):
    "As Llama's: a class of its own, one scale for each number of a token."
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))

    def forward(self, x): return x*(x.square().mean(-1, keepdim=True)+1e-6).rsqrt()*self.weight


class Around(nn.Module):
    "A parameter of its own around another layer."
    def __init__(self, inner, shape=()):
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.ones(shape))

    def forward(self, x):
        y = self.inner(x)
        return y if isinstance(y, tuple) else y*self.scale


class ConvNeXtBlock(nn.Module):
    def __init__(self, n, scale):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(n, n, 3, padding=1, groups=n), nn.LayerNorm(n)
        self.wide, self.narrow, self.scale = nn.Linear(n, 2*n), nn.Linear(2*n, n), nn.Parameter(torch.ones(scale))

    def forward(self, x):
        y = self.narrow(self.wide(self.norm(self.conv(x).movedim(1, -1))).relu()).movedim(-1, 1)
        return x + y*self.scale.view(-1, 1, 1)


def weight_dropout(layer, name):
    from fastai.text.models.awdlstm import WeightDropout
    return WeightDropout(layer, 0.5, name)


def conv(*args): return nn.Conv2d(*args, padding=1)


# layers in a row; the shape of the input; which axis of the last one's output has the units
placed = {
    'linear on tokens': (lambda: [nn.Linear(6, 5)], (4, 5, 6), -1), 'linear on one': (lambda: [nn.Linear(6, 5)], (6,), 0), 'linear on a grid': (lambda: [nn.Linear(6, 5)], (2, 5, 5, 6), -1),
    'conv': (lambda: [conv(2, 6, 3)], (4, 2, 6, 6), 1), 'conv of one image': (lambda: [conv(2, 6, 3)], (2, 6, 6), 0), 'conv 1d': (lambda: [nn.Conv1d(2, 6, 1)], (4, 2, 6), 1),
    'conv 1d of one': (lambda: [nn.Conv1d(2, 6, 1)], (2, 6), 0), 'conv 3d': (lambda: [nn.Conv3d(2, 4, 1)], (3, 2, 4, 4, 4), 1), 'conv 3d of one': (lambda: [nn.Conv3d(2, 4, 1)], (2, 4, 4, 4), 0),
    'transposed': (lambda: [nn.ConvTranspose2d(2, 4, 1)], (4, 2, 4, 4), 1), 'transposed of one': (lambda: [nn.ConvTranspose2d(2, 4, 1)], (2, 4, 4), 0),
    'activation after the conv of one': (lambda: [conv(2, 6, 3), nn.ReLU()], (2, 6, 6), 0), 'rms norm': (lambda: [nn.RMSNorm(6)], (4, 6, 6), -1),
    'rms norm on a grid': (lambda: [nn.RMSNorm(6)], (2, 6, 6, 6), -1), 'layer norm': (lambda: [nn.LayerNorm(6)], (4, 6, 6), -1),
    'layer norm over images': (lambda: [conv(2, 6, 3), nn.LayerNorm([6, 6, 6])], (4, 2, 6, 6), 1), 'layer norm over images alone': (lambda: [nn.LayerNorm([6, 6, 6])], (4, 6, 6, 6), 1),
    'layer norm, channels first': (lambda: [conv(2, 6, 3), Channels(6)], (4, 2, 6, 6), 1), 'the same, wider': (lambda: [conv(2, 6, 3), Channels(6)], (4, 2, 6, 8), 1),
    'the same, first of all': (lambda: [Channels(6)], (4, 6, 5, 8), 1), 'channels first 1d': (lambda: [nn.Conv1d(2, 6, 1), Channels(6)], (4, 2, 6), 1),
    'own rms norm on tokens': (lambda: [nn.Linear(6, 6), OwnRms(6)], (4, 6, 6), -1), 'own rms norm alone': (lambda: [OwnRms(6)], (4, 5, 6), -1),
    'batch norm 1d': (lambda: [nn.BatchNorm1d(6)], (4, 6, 6), 1), 'batch norm of rows': (lambda: [nn.BatchNorm1d(6)], (4, 6), 1), 'batch norm': (lambda: [nn.BatchNorm2d(6)], (4, 6, 6, 6), 1),
    'group norm': (lambda: [nn.GroupNorm(2, 6)], (4, 6, 6), 1), 'instance norm of one': (lambda: [nn.InstanceNorm2d(6, affine=True)], (6, 5, 5), 0),
    'embedding': (lambda: [nn.Embedding(9, 6)], (4, 6), -1), 'lstm': (lambda: [nn.LSTM(6, 6)], (4, 6, 6), -1), 'gru, both ways': (lambda: [nn.GRU(6, 3, bidirectional=True)], (4, 6, 6), -1),
    'lstm in dropout of weights': (lambda: [weight_dropout(nn.LSTM(6, 6, batch_first=True), 'weight_hh_l0')], (4, 6, 6), -1),
    'gru in dropout of weights': (lambda: [weight_dropout(nn.GRU(6, 6, batch_first=True), 'weight_hh_l0')], (4, 5, 6), -1),
    'linear in dropout of weights': (lambda: [weight_dropout(nn.Linear(6, 6), 'weight')], (4, 6, 6), -1), 'around a linear': (lambda: [Around(nn.Linear(6, 6))], (4, 6, 6), -1),
    'around a linear, a scale each': (lambda: [Around(nn.Linear(6, 6), 6)], (4, 6, 6), -1), 'around a conv': (lambda: [Around(conv(2, 6, 3))], (4, 2, 6, 6), 1),
    'around a conv of one': (lambda: [Around(conv(2, 6, 3))], (2, 6, 6), 0), 'around layers': (lambda: [Around(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))], (4, 6, 6), -1),
    'around an lstm': (lambda: [Around(nn.LSTM(6, 6))], (4, 6, 6), -1), 'scale [C,1,1]': (lambda: [Around(nn.Identity(), (6, 1, 1))], (4, 6, 6, 6), 1),
    'convnext': (lambda: [conv(2, 6, 3), ConvNeXtBlock(6, (6, 1, 1))], (4, 2, 6, 6), 1), 'convnext, a scale each': (lambda: [conv(2, 6, 3), ConvNeXtBlock(6, 6)], (4, 2, 6, 6), 1),
    'attention': (lambda: [SelfAttention(6, 2, batch_first=True)], (4, 6, 6), -1), 'activation on tokens': (lambda: [nn.Linear(6, 6), nn.ReLU()], (4, 6, 6), -1),
    'pool': (lambda: [conv(2, 6, 3), nn.AvgPool2d(1)], (4, 2, 6, 6), 1), 'flat': (lambda: [conv(2, 6, 3), nn.Flatten()], (6, 2, 6, 6), -1), 'prelu': (lambda: [conv(2, 6, 3), nn.PReLU(6)], (4, 2, 6, 6), 1),
}


@pytest.mark.parametrize('name', placed)
@pytest.mark.parametrize('dead', [0, 2])
def test_units_lie_on_the_layers_own_axis(name, dead):
    "A hook before ours sets one unit to -1: that one, and no other, is dead."
    made, shape, axis = placed[name]
    layers, x = made(), torch.randn(shape)
    if isinstance(layers[0], nn.Embedding): x = torch.randint(0, 9, shape)
    def silence(m, inp, out):
        y = (out[0] if isinstance(out, tuple) else out).detach().abs()+1
        y.select(axis, dead).fill_(-1)
        return (y, *out[1:]) if isinstance(out, tuple) else y
    model = nn.Sequential(*layers)
    layers[-1].register_forward_hook(silence)
    with record_activations(model, include_paramless=True) as own: model(x)
    row = own.dead().set_index('layer').loc[str(len(layers)-1)]
    assert row.which == [dead]


def test_what_is_named_may_hold_layers():
    for model, units in ((nn.Sequential(nn.Embedding(9, 6), nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)), 6), (nn.Sequential(conv(1, 5, 3), nn.Sequential(conv(5, 7, 3), nn.ReLU())), 7)):
        x = torch.randint(0, 9, (4, 5)) if units == 6 else torch.randn(4, 1, 8, 8)
        with record_activations(model, modules=['1']) as own: model(x)
        assert own.dead().units.tolist() == [units]


@pytest.mark.parametrize('holder', [lambda m: m, lambda m: nn.ModuleList(m[:3]), lambda m: nn.ModuleDict(dict(a=m[1], b=m[3])), lambda m: m[2]])
def test_a_sequential_stands_for_its_layers(holder):
    "As in fastai, which goes through whatever it is given."
    model = simple_cnn()
    held = holder(model)
    ours, theirs = ActivationStats(with_hist=True, modules=held), FastaiStats(with_hist=True, modules=list(held.children()))
    train([theirs, ours], model)
    assert len(ours.layers) == len(list(held.children()))
    same(theirs, ours, len(ours.layers))


def test_units_of_a_layer_without_parameters_are_those_of_the_one_before():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU())
    with record_activations(model, include_paramless=True) as own: model(torch.randn(2, 3, 6))
    assert own.dead().units.tolist() == [5, 5]


def test_only_validation_on_record():
    model = simple_cnn().eval()
    with record_activations(model, valid=True) as own: model(torch.randn(4, 1, 28, 28))
    assert own.to_frame().phase.unique().tolist() == ['valid']
    own.plot_layer_stats(valid=True)
    with pytest.raises(RuntimeError, match='train first'): own.plot_layer_stats()


@pytest.mark.parametrize('modules,error,text', [
    ('0.0', TypeError, "list of modules or of their names; got str '0.0'"), (0, TypeError, 'got int 0'), ([0], TypeError, r'modules\[0\].*got int'),
    ([None], TypeError, 'NoneType'), (nn.Linear(1, 1), TypeError, 'got Linear'), (['0.0', 'conv'], KeyError, "no layer 'conv'"),
    ([nn.ReLU()], ValueError, 'a ReLU that is not a layer of the model')])
def test_bad_modules_are_named(modules, error, text):
    with pytest.raises(error, match=text): train(ActivationStats(modules=modules))


def test_modules_may_come_from_anywhere():
    model = simple_cnn()
    ours = ActivationStats(modules=(m for m in model.modules() if isinstance(m, nn.ReLU)))
    train(ours, model)
    train(ours, model)  # again: the generator is at its end
    assert ours.layers == ['0.1', '1.1', '2.1', '3.1']


def test_layers_that_are_never_called():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        def forward(self, x): return self.a(x)
    model = Unused()
    with record_activations(model, modules=['b']) as own: model(torch.randn(2, 2))
    for f in (own.to_frame, own.plot_layer_stats, lambda: own.layer_stats(0), lambda: own.stats):
        with pytest.raises(ValueError, match=r"none of the layers.*\['b'\]"): f()


def test_whose_activation_stats():
    "In convlab.all the name is ours, although that brings all of fastai too."
    scope = {}
    exec('from convlab.all import *', scope)
    assert scope['ActivationStats'] is ActivationStats and issubclass(ActivationStats, Callback)


def test_no_public_attribute_is_none():
    for o in (ActivationStats(), train(ActivationStats()).activation_stats):
        assert [k for k, v in vars(o).items() if v is None and not k.startswith('_') and k != 'learn'] == []


def test_compiled_models():
    torch._dynamo.reset()
    model, x = simple_cnn(), torch.randn(4, 1, 28, 28)
    compiled = torch.compile(model, backend='eager')
    with record_activations(compiled, with_hist=True) as own:
        for _ in range(3): compiled(x)
    with record_activations(model, with_hist=True) as plain:
        for _ in range(3): model(x)
    assert own.layers[0] == '_orig_mod.0.0' and len(own.to_frame()) == 15
    for i in range(5): assert torch.equal(own.hist(i), plain.hist(i))


def test_scripted_models_are_refused():
    model = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(RuntimeError, match='not supported on ScriptModules'), record_activations(model): pass


@pytest.mark.parametrize('shape,axis', [((4, 6, 5, 5), 1), ((4, 5, 6, 6), 1), ((4, 6, 6, 6), 1), ((4, 5, 6, 5), 2), ((4, 5, 5, 6), 3), ((4, 5, 5, 5), 1), ((6, 5, 5, 5), 1)])
def test_where_the_units_are_if_their_number_is_known(shape, axis):
    "On the axis that is looked at first, unless one other, and only one, has their number."
    from convlab.study.layers import Place
    assert Place(-3, 6).find(shape) % len(shape) == axis
    assert Place(-3).find(shape) % len(shape) == 1 and Place().find(shape) == 1 and Place().find(shape[:3]) == -1


def test_the_last_convolution_inside_tells_the_units():
    model = nn.Sequential(conv(2, 3, 3), Around(nn.Sequential(conv(3, 7, 3), nn.Conv2d(7, 5, 3, stride=(1, 2), padding=1))))
    with record_activations(model, modules=['1']) as own: model(torch.randn(4, 2, 5, 14))  # [4,5,5,7]
    assert own.dead().units.tolist() == [5]
    model = nn.Sequential(conv(2, 3, 3), Around(nn.Sequential(conv(3, 7, 3), nn.Conv2d(7, 5, 3, padding=1), nn.Upsample(size=(6, 7)))))
    with record_activations(model, modules=['1']) as own: model(torch.randn(4, 2, 6, 6))  # [4,5,6,7]
    assert own.dead().units.tolist() == [5]


def test_batches_that_never_reached_the_model_are_counted():
    class Skip(Callback):
        def before_batch(self):
            if self.training and self.iter in (1, 4, 5): raise CancelBatchException
    ours = ActivationStats(every=2)
    train([ours, Skip()])
    assert ours.to_frame().query("layer == '4'").batch.tolist() == [0, 2, 6, 8]


# -- one look, and first weights -----------------------------------------------------------------------------------------

def test_layer_outputs_are_those_of_the_layers():
    model, x = simple_cnn(), torch.randn(4, 1, 28, 28)
    outs = layer_outputs(model, x)
    assert list(outs) == ['0.0', '1.0', '2.0', '3.0', '4'] and torch.equal(outs['0.0'], model[0][0](x))
    assert torch.equal(outs['4'].flatten(1), model(x)) and not outs['4'].requires_grad
    assert torch.equal(layer_outputs(model, x, nn.ReLU)['0.1'], outs['0.0'].relu()) and hooks(model) == 0


def test_layer_outputs_leave_no_hook_after_an_error():
    model = simple_cnn()
    with pytest.raises(RuntimeError): layer_outputs(model, torch.randn(4, 3, 28, 28))
    assert hooks(model) == 0


@pytest.mark.parametrize('times', [.5, 1, 2])
def test_kaiming_init_is_pytorchs(times):
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3, groups=3), nn.Linear(40, 7, bias=False))
    torch.manual_seed(0)
    assert kaiming_init(model, times) is model
    torch.manual_seed(0)
    for m in model: torch.testing.assert_close(m.weight, times*nn.init.kaiming_normal_(torch.empty_like(m.weight), nonlinearity='relu'))
    assert not model[0].bias.any()
