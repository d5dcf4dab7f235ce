"`convlab.training`, `convlab.study.fitting` and `fast`: the schedule and `fit` against fastai's and PyTorch's; seeds; errors; the chapter's cells."
import multiprocessing
import shutil
import signal
import subprocess
from contextlib import redirect_stdout
from copy import deepcopy
from io import StringIO

import matplotlib
import pytest
from conftest import needs_fork
from hypothesis import given, settings, strategies as st

from convlab.all import *
from convlab.study.fast import ChannelsLastBatch, takes_any_order
from fastai.callback.mixup import MixUp

matplotlib.use('Agg')
for _name in [n for n in globals() if n.startswith('test')]: del globals()[_name]  # fastcore's, which are no tests


@pytest.fixture(scope='module')
def path(): return mnist_path(source='embedded')


@pytest.fixture(scope='module')
def dls(path, tmp_path_factory):
    "45 digits of each kind to train on, 7 updates an epoch, and 10 to validate."
    few = tmp_path_factory.mktemp('few')
    for part, n in (('training', 45), ('testing', 10)):
        for folder in (path/part).iterdir():
            (few/part/folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:n]: shutil.copy(file, few/part/folder.name)
    return get_dls(64, few).cpu()  # for which the quicker ways are; with `path`, a test runs on a GPU where there is one


def quiet(learn): return ContextManagers([learn.no_bar(), learn.no_logging()])


def recorded(n, lr, kwargs):
    "Learning rates and momentums that fastai records in `n` updates of a network with one weight."
    dl = DataLoader(list(zip(torch.randn(2*n, 1), torch.randn(2*n, 1))), bs=2)
    learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), loss_func=F.mse_loss)
    with quiet(learn): learn.fit_one_cycle(1, lr, **kwargs)
    return learn.recorder.hps


# The schedule

@pytest.mark.parametrize('n', [1, 2, 3, 10, 117])
@pytest.mark.parametrize('kwargs', [{}, dict(div=10., div_final=100., pct_start=0.4), dict(pct_start=0.9, moms=(0.9, 0.8, 0.99))])
def test_schedule_is_fastais(n, kwargs):
    lrs, moms = one_cycle_schedule(n, 0.06, **kwargs)
    hps = recorded(n, 0.06, kwargs)
    assert lrs.shape == moms.shape == (n,)
    np.testing.assert_allclose(lrs, np.array(hps['lr'], dtype=float), atol=1e-7)
    np.testing.assert_allclose(moms, hps['mom'], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(4, 300), lr=st.floats(1e-4, 10), div=st.floats(1.5, 100), drop=st.floats(2, 1e5), pct=st.floats(0.05, 0.9))
def test_schedule_is_torchs_with_one_step_more(n, lr, div, drop, pct):
    opt = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=n+1, pct_start=(pct*n+1)/(n+1), div_factor=div,
                                                final_div_factor=drop, base_momentum=0.85, max_momentum=0.95)
    theirs = []
    for _ in range(n):
        theirs.append((opt.param_groups[0]['lr'], opt.param_groups[0]['momentum']))
        opt.step()
        sched.step()
    lrs, moms = one_cycle_schedule(n, lr, div=div, div_final=div*drop, pct_start=pct)
    np.testing.assert_allclose(lrs, [o[0] for o in theirs], rtol=1e-9, atol=1e-12*lr)
    np.testing.assert_allclose(moms, [o[1] for o in theirs], rtol=1e-9)


@given(n=st.integers(1, 500), lr=st.floats(1e-6, 1e3), pct=st.floats(0, 1))
def test_schedule_stays_in_bounds(n, lr, pct):
    lrs, moms = one_cycle_schedule(n, lr, pct_start=pct)
    assert torch.isfinite(lrs).all() and torch.isfinite(moms).all()
    assert lrs.min() >= lr/1e5*(1-1e-9) and lrs.max() <= lr*(1+1e-9)
    assert moms.min() >= 0.85-1e-9 and moms.max() <= 0.95+1e-9


@pytest.mark.parametrize('kwargs, error, match', [
    (dict(n_steps=0), ValueError, 'n_steps must be a whole number of at least 1; got 0'), (dict(n_steps=-3), ValueError, 'n_steps'),
    (dict(n_steps=2.5), TypeError, 'n_steps must be a whole number of at least 1; got 2.5'), (dict(n_steps=True), TypeError, 'n_steps'),
    (dict(lr_max=0), ValueError, 'lr_max must be a finite number above 0; got 0'), (dict(lr_max=-1.), ValueError, 'lr_max'),
    (dict(lr_max=math.inf), ValueError, 'lr_max'), (dict(lr_max=math.nan), ValueError, 'lr_max'),
    (dict(lr_max='0.1'), TypeError, 'lr_max must be a finite number'), (dict(div=0), ValueError, 'div must'),
    (dict(div_final=-1), ValueError, 'div_final'), (dict(pct_start=1.1), ValueError, 'pct_start must be a finite number from 0 to 1; got 1.1'),
    (dict(pct_start=-0.1), ValueError, 'pct_start'), (dict(moms=(0.95, 0.85)), ValueError, 'moms must be three')])
def test_schedule_errors(kwargs, error, match):
    with pytest.raises(error, match=match): one_cycle_schedule(**{**dict(n_steps=10, lr_max=0.1), **kwargs})


# fit

@pytest.mark.parametrize('one_cycle', [False, True])
def test_fit_is_a_learners_fit(dls, one_cycle):
    ours = fit(simple_cnn, dls, 2, 0.01, one_cycle, stats=False, seed=4, progress=False)
    set_seed(4)
    for dl in dls.loaders: dl.rng.seed(4)
    learn = Learner(dls, simple_cnn(), loss_func=F.cross_entropy, metrics=accuracy)
    with quiet(learn): (learn.fit_one_cycle if one_cycle else learn.fit)(2, 0.01)
    np.testing.assert_allclose(ours.recorder.losses, learn.recorder.losses, atol=1e-4)
    np.testing.assert_allclose(ours.recorder.values[-1], learn.recorder.values[-1], atol=5e-3)
    assert ours.recorder.lrs == learn.recorder.lrs


def test_seed_decides_everything(dls):
    a, b, c = [fit(partial(simple_cnn, norm=nn.BatchNorm2d), dls, lr=0.01, one_cycle=True, stats=s, seed=k, progress=False)
               for k, s in ((1, True), (1, False), (2, False))]
    pairs = [list(zip(o.model.state_dict().values(), a.model.state_dict().values())) for o in (b, c)]
    assert all(torch.equal(p, q) for p, q in pairs[0])  # statistics change nothing
    assert not all(torch.equal(p, q) for p, q in pairs[1])


def test_fit_trains_the_module_it_is_given(dls):
    model = simple_cnn()
    learn = fit(model, dls, 3, 0.01, progress=False)
    assert learn.model is model and len(learn.recorder.values) == 3
    assert len(learn.activation_stats.layer_stats(-2)[0]) == 21
    learn.fit(1, 0.001)  # it goes on like any Learner
    assert not hasattr(fit(model, dls, lr=0.01, stats=False, progress=False), 'activation_stats')


def test_progress(dls, capsys):
    fit(simple_cnn, dls, lr=0.01, stats=False, progress=False)
    assert capsys.readouterr().out == ''
    fit(simple_cnn, dls, lr=0.01, stats=False)
    out = capsys.readouterr()
    assert 'accuracy' in out.out and out.err == ''


def test_one_cycle_learns(path):
    "Mean of three seeds on 4,000 digits; measured 93 % and more with every one of eight."
    dls = get_dls(256, path)
    accs = [fit(simple_cnn, dls, 4, 0.03, True, stats=False, seed=s, progress=False).recorder.values[-1][2] for s in range(3)]
    assert np.mean(accs) > 0.9


def test_diverging_training_ends_with_a_result(dls):
    learn = fit(simple_cnn, dls, lr=1e30, seed=0, progress=False)
    assert 0 <= learn.recorder.values[-1][2] < 0.3


@pytest.mark.parametrize('kwargs, error, match', [
    (dict(lr=0), ValueError, 'lr must be a finite number above 0; got 0'), (dict(lr=-0.1), ValueError, 'lr must be a finite number above 0; got -0.1'),
    (dict(lr=math.nan), ValueError, 'lr must'), (dict(lr='fast'), TypeError, "lr must be a finite number above 0; got 'fast'"),
    (dict(epochs=0), ValueError, 'epochs must be a whole number of at least 1; got 0'), (dict(epochs=-1), ValueError, 'epochs'),
    (dict(epochs=1.5), TypeError, 'epochs must be a whole number'), (dict(seed='one'), TypeError, 'seed must be a whole number, or None; got \'one\''),
    (dict(seed=1.5), TypeError, 'seed'), (dict(model=3), TypeError, 'model must be an nn.Module or a function that makes one; got int'),
    (dict(model=lambda: 3), TypeError, r'model\(\) must be an nn.Module; got int'),
    (dict(model=nn.Flatten()), ValueError, 'model must have parameters to train'),
    (dict(model=nn.Linear(4, 2, device='meta')), ValueError, 'model must have numbers; its parameters are on the device meta'),
    (dict(dls=[1, 2]), TypeError, 'dls must be fastai DataLoaders, as get_dls makes; got list'),
    (dict(dls=None), TypeError, 'dls must be fastai DataLoaders'),
    (dict(cbs=3), TypeError, 'cbs must be fastai callbacks; got int'), (dict(cbs=[Callback(), 'x']), TypeError, 'cbs must be fastai callbacks; got str'),
    (dict(loss_func='mse'), TypeError, 'loss_func must be a function; got str'), (dict(opt_func=.1), TypeError, 'opt_func must be a function; got float'),
    (dict(metrics=[accuracy, 3]), TypeError, 'metrics must be functions, or metrics of fastai; got int')])
def test_fit_errors(dls, kwargs, error, match):
    with pytest.raises(error, match=match): fit(**{**dict(model=simple_cnn, dls=dls), **kwargs})


def test_fit_needs_a_batch_and_two_loaders(dls, path):
    with pytest.raises(ValueError, match='dls.train must have a batch at least; got none in 4000 items'):
        fit(simple_cnn, get_dls(4001, path))
    with pytest.raises(ValueError, match='dls must have two loaders'): fit(simple_cnn, DataLoaders(dls.train))


@pytest.mark.parametrize('given', [lambda x: x, torch.utils.data.TensorDataset], ids=['tensor', 'dataset of tensors'])
def test_fit_needs_labels(given):
    "fastai's own loop passes over such batches without a word, and nothing is trained."
    loaders = DataLoaders(*[torch.utils.data.DataLoader(given(torch.rand(128, 1, 28, 28)), 64) for _ in range(2)])
    with pytest.raises(ValueError, match='dls.train must give inputs and labels; got one part only'):
        fit(simple_cnn, loaders, stats=False, progress=False)


class Stream(torch.utils.data.IterableDataset):
    "Digits one after the other, and nobody knows how many."
    def __iter__(self): return iter([(torch.rand(1, 28, 28), torch.tensor(i % 10)) for i in range(8)])


class Counted(Stream):
    def __len__(self): return 8


def test_fit_needs_to_know_how_many_batches_there_are(dls):
    unknown, known = [torch.utils.data.DataLoader(cls(), batch_size=4) for cls in (Stream, Counted)]
    for loaders, name in (((unknown, dls.valid), 'train'), ((dls.train, unknown), 'valid'), ((DataLoader(Stream(), bs=4), dls.valid), 'train')):
        with pytest.raises(TypeError, match=rf'dls\.{name} must know how many batches it has; a .* over a Stream has no length'):
            fit(simple_cnn, DataLoaders(*loaders))
    assert fit(simple_cnn, DataLoaders(known, known), progress=False).train_iter == 2


# The chapter's training cells: same names, same calls, only the digits come from elsewhere

@pytest.fixture
def no_figures():
    yield
    plt.close('all')


def test_chapter_two_classes(no_figures):
    dls = get_dls(64, mnist_path(sample=True, source='embedded'))
    cnn = sequential(conv(1, 4), conv(4, 8), conv(8, 16), conv(16, 32), conv(32, 2, act=False), Flatten())
    learn = Learner(dls, cnn, loss_func=F.cross_entropy, metrics=accuracy)
    learn.fit_one_cycle(2, 0.01)
    assert len(learn.recorder.values) == 2 and learn.recorder.values[-1][2] > 0.9


@pytest.mark.parametrize('bs', [64, 512])
def test_chapter_baseline(path, bs, no_figures):
    dls = get_dls(bs, path)
    learn = Learner(dls, simple_cnn(), loss_func=F.cross_entropy, metrics=accuracy, cbs=ActivationStats(with_hist=True))
    learn.fit(1, 0.06)
    for layer in (0, -2): learn.activation_stats.plot_layer_stats(layer)
    assert len(learn.activation_stats.layer_stats(-2)[0]) == len(dls.train)


@pytest.mark.parametrize('norm, idx, calls', [(None, -2, [(1, 0.06)]), (nn.BatchNorm2d, -4, [(1, 0.06), (2, 0.1)])])
def test_chapter_one_cycle_and_batch_norm(dls, norm, idx, calls, no_figures):
    for epochs, lr in calls:
        learn = Learner(dls, simple_cnn(norm=norm), loss_func=F.cross_entropy, metrics=accuracy, cbs=ActivationStats(with_hist=True))
        learn.fit_one_cycle(epochs, lr)
        learn.recorder.plot_sched()
        learn.activation_stats.plot_layer_stats(-2)
        learn.activation_stats.color_dim(idx)
        assert learn.activation_stats.hist(idx).shape == (40, epochs*len(dls.train))


# The Learner that `fit` returns

def test_it_predicts(path, tmp_path):
    learn = fit(simple_cnn, get_dls(64, path), 2, 0.01, stats=False, seed=0, progress=False)
    acc, file = learn.recorder.values[-1][2], digit_files(path)[-1]
    for item in (file, str(file), PILImageBW.create(file), tensor(PILImageBW.create(file))):
        label, idx, probs = learn.predict(item)
        assert label == file.parent.name == learn.dls.vocab[idx]
        assert probs.argmax() == idx and probs.sum().item() == pytest.approx(1, abs=1e-5)
    preds, targs = learn.get_preds()
    torch.testing.assert_close(preds.sum(1), torch.ones(1000))
    assert (preds.argmax(1) == targs).float().mean().item() == pytest.approx(acc, abs=1e-6)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.confusion_matrix().sum() == 1000 and interp.confusion_matrix().trace() == (preds.argmax(1) == targs).sum()
    interp.plot_top_losses(4)
    plt.close('all')
    learn.path = tmp_path
    learn.export()
    label, *_ = load_learner(tmp_path/'export.pkl').predict(file)
    assert label == file.parent.name


def test_it_takes_what_a_learner_takes(dls):
    seen = []
    learn = fit(simple_cnn, dls, 2, 0.05, seed=0, progress=False, loss_func=LabelSmoothingCrossEntropy(), opt_func=SGD,
                metrics=[accuracy, error_rate], cbs=[MixUp(), Callback(after_epoch=lambda self: seen.append(self.epoch))])
    assert seen == [0, 1] and type(learn.opt) is Optimizer and isinstance(learn.loss_func, LabelSmoothingCrossEntropy)
    *_, acc, err = learn.recorder.values[-1]
    assert acc+err == pytest.approx(1)
    assert len(learn.activation_stats.layer_stats(0)[0]) == 14


def test_mixup_trains(path):
    learn = fit(simple_cnn, get_dls(64, path), 2, 0.01, True, seed=0, progress=False, cbs=MixUp())
    assert learn.recorder.values[-1][2] > 0.85 and isinstance(learn.loss_func, CrossEntropyLossFlat)


@pytest.mark.parametrize('cbs', [[TrainEvalCallback, Recorder, CastToTensor], [TrainEvalCallback, CastToTensor]], ids=['no bar', 'no recorder'])
@pytest.mark.parametrize('progress', [True, False])
def test_fastais_defaults_may_be_changed(monkeypatch, dls, cbs, progress):
    monkeypatch.setattr(defaults, 'callbacks', cbs)
    learn = fit(simple_cnn, dls, lr=0.01, one_cycle=True, seed=0, progress=progress)
    assert not hasattr(learn, 'progress') and len(learn.activation_stats.layer_stats(0)[0]) == 7


def test_numbers_of_any_kind(dls):
    a, b = [fit(simple_cnn, dls, n, lr, True, stats=False, seed=seed, progress=False)
            for n, lr, seed in ((1, 0.01, 3), (np.int64(1), np.float64(0.01), tensor(3)))]
    assert torch.equal(*[next(o.model.parameters()) for o in (a, b)])
    assert len(fit(simple_cnn, dls, lr=np.float32(0.01), stats=False, progress=False).recorder.losses) == 7


def test_a_seed_sets_all_random_numbers(dls):
    def draw():
        fit(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), dls, lr=0.01, stats=False, seed=7, progress=False)
        return random.random(), np.random.rand(), torch.rand(1).item(), dls.train.rng.random()
    assert draw() == draw()


def test_pytorchs_loaders_will_do():
    data = list(zip(torch.randn(32, 1, 28, 28), torch.randint(10, (32,))))
    dl = torch.utils.data.DataLoader(data, batch_size=8)
    learn = fit(simple_cnn, DataLoaders(dl, dl), 2, 0.01, seed=0, progress=False)
    assert len(learn.recorder.losses) == 8


# Interrupts

class Stop(Callback):
    "Raises `error` in the second batch of the second epoch."
    def __init__(self, error): self.error = error

    def after_backward(self):
        if self.epoch == 1 and self.iter == 1: raise self.error


def test_an_interrupt_leaves_learner_and_records(path, capsys):
    learn = fit(simple_cnn, get_dls(512, path), 5, 0.01, True, seed=0, cbs=[Stop(KeyboardInterrupt()), MixUp()])
    assert 'Interrupted after 8 updates: this is the Learner as far as it came.' in capsys.readouterr().out
    assert len(learn.recorder.losses) == 8 and len(learn.recorder.values) == 1
    assert len(learn.activation_stats.layer_stats(0)[0]) in (8, 9)
    assert not any(m._forward_hooks for m in learn.model.modules()) and isinstance(learn.loss_func, CrossEntropyLossFlat)
    learn.remove_cb(Stop)
    learn.fit(1, 0.01)
    assert learn.recorder.values[-1][2] > 0.5


@pytest.mark.parametrize('error, progress', [(KeyboardInterrupt, False), (RuntimeError, True)])
def test_scripts_are_interrupted_and_errors_passed_on(dls, error, progress):
    with pytest.raises(error): fit(simple_cnn, dls, 5, 0.01, seed=0, progress=progress, cbs=Stop(error('stop')))


def train_until_interrupted(dls, report):
    torch.set_num_threads(1)  # threads do not survive a fork
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test that runs in the background ignores it, and so would this process
    with redirect_stdout(StringIO()) as out:
        learn = fit(simple_cnn, dls, 200, 0.01, seed=0, cbs=Callback(after_epoch=lambda self: report.send('epoch done')))
    report.send((out.getvalue(), len(learn.recorder.values), len(learn.activation_stats.layer_stats(0)[0])))


@needs_fork
@pytest.mark.skipif(torch.cuda.is_available(), reason='a forked process cannot use CUDA')
def test_a_real_interrupt(dls):
    "Ctrl-C in a process of its own."
    fork = multiprocessing.get_context('fork')
    mine, theirs = fork.Pipe()
    p = fork.Process(target=train_until_interrupted, args=(dls, theirs))
    p.start()
    try:
        for _ in range(2): assert mine.poll(60) and mine.recv() == 'epoch done'  # the first is recorded by then
        os.kill(p.pid, signal.SIGINT)
        while mine.poll(60) and (said := mine.recv()) == 'epoch done': pass
        out, epochs, batches = said
        p.join(60)
    finally: p.kill()
    assert p.exitcode == 0 and 'Interrupted after' in out and epochs >= 1 and batches >= 14


# Images in the order that a CPU convolves fastest

def lies_last(t): return t.ndim == 4 and t.stride(1) == 1 and t.stride(3) == t.shape[1]


class Note(Callback):
    "Notes in what order images are handed over and activations come out, and the order of kernels and gradients."
    order = 2000

    def __init__(self): self.images, self.inside = [], []

    def before_batch(self): self.images.append(lies_last(self.learn.xb[0]))

    def after_backward(self):
        ps = [p for p in self.learn.model.parameters() if p.ndim == 4]
        self.inside.append(any(lies_last(p.grad) and not p.grad.is_contiguous() or not p.is_contiguous() for p in ps))


class Double(Callback):
    order = 10
    def before_batch(self): self.learn.xb = [o.double() for o in self.learn.xb]


def pools():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(),
                         nn.Identity(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))


@pytest.mark.parametrize('make', [simple_cnn, partial(simple_cnn, norm=nn.BatchNorm2d), pools], ids=['plain', 'batch norm', 'pools'])
@pytest.mark.parametrize('opt_func', [Adam, SGD], ids=lambda o: o.__name__)
def test_either_order_trains_alike(dls, make, opt_func):
    "In float64, since sums are taken in another order."
    models = []
    for cbs in ([], [ChannelsLastBatch()]):
        set_seed(0)
        dls.train.rng.seed(0)
        learn = Learner(dls, make().double(), CrossEntropyLossFlat(), opt_func, cbs=[Double(), note := Note(), *cbs])
        with quiet(learn): learn.fit(1, 0.01)
        assert set(note.images) == {bool(cbs)} and not any(note.inside)
        models.append(learn.model)
    for p, q in zip(*[m.state_dict().values() for m in models], strict=True): torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-8)


def test_inside_the_network_channels_lie_last_too(dls):
    seen = []
    class Look(Callback):
        order = 3000
        def before_batch(self): self.handle = self.learn.model[1][0].register_forward_hook(lambda m, inp, out: seen.append((lies_last(inp[0]), lies_last(out))))
        def after_pred(self): self.handle.remove()
    fit(simple_cnn, dls, 1, 0.01, progress=False, cbs=Look())
    assert set(seen) == {(True, True)}


def test_images_of_several_channels_and_what_is_no_image():
    x = torch.randn(64, 3, 8, 8)
    for data, last in ((x, True), (x.flatten(1), False)):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)) if last else nn.Linear(192, 10)
        dls = DataLoaders.from_dsets(*[list(zip(data, torch.arange(64) % 10))]*2, bs=16, device='cpu', num_workers=0)
        fit(model, dls, 1, 0.01, progress=False, cbs=(note := Note()))
        assert set(note.images) == {last}


class Foreign(Callback):
    "Somebody's own, which looks at everything that it can get hold of, in the usual order."
    def after_pred(self): self.learn.pred.view(-1)
    def after_backward(self): self.norm = torch.cat([p.grad.view(-1) for p in self.learn.model.parameters()]).norm()
    def after_step(self): [p.view(-1) for p in self.learn.model.parameters()]


def views_weights(pred, targ): return F.cross_entropy(pred, targ) + sum(p.view(-1).abs().sum() for p in views_weights.model.parameters())*1e-4


@pytest.mark.parametrize('kwargs', [dict(loss_func=views_weights), dict(cbs=Foreign()), dict(opt_func=SGD), dict(opt_func=ranger), dict(cbs=MixUp()),
                                    dict(cbs=Callback(after_backward=lambda self: [p.grad.view(-1) for p in self.learn.model.parameters()]))])
def test_nothing_foreign_turns_it_off(dls, kwargs):
    views_weights.model = model = simple_cnn(norm=nn.BatchNorm2d)
    note = Note()
    learn = fit(model, dls, 1, 0.01, progress=False, **{**kwargs, 'cbs': L(kwargs.get('cbs'))+[note]})
    assert set(note.images) == {True} and not any(note.inside) and len(learn.recorder.losses) == 7


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lin = nn.Conv2d(1, 8, 3, stride=2), nn.Linear(8*13*13, 10)

    def forward(self, x): return self.lin(self.conv(x).relu().view(x.shape[0], -1))


def view(*args):
    "Call `view` on every tensor in `args`, as a hook may."
    for o in args:
        if isinstance(o, tuple): view(*o)
        elif isinstance(o, torch.Tensor): o.view(-1)


class View(nn.Module):
    def forward(self, w): return w.view(-1).view(w.shape)


def hooked(kind):
    "A network with a hook that calls `view`, each kind in a place of its own."
    model = simple_cnn()
    m = model[1][0]
    if kind == 'forward': m.register_forward_hook(view)
    if kind == 'pre-forward': m.register_forward_pre_hook(view)
    if kind == 'backward': m.register_full_backward_hook(view)
    if kind == 'pre-backward': m.register_full_backward_pre_hook(view)
    if kind == 'gradient': m.weight.register_hook(view)
    if kind == 'accumulated': m.weight.register_post_accumulate_grad_hook(lambda p: view(p.grad))
    if kind == 'parametrized': nn.utils.parametrize.register_parametrization(m, 'weight', View())
    if kind == 'patched': m.forward = lambda x: nn.Conv2d.forward(m, x.view(-1).view(x.shape))
    if kind == 'weight norm': nn.utils.parametrizations.weight_norm(m)
    if kind == 'dropout': model.insert(1, nn.Dropout(0.1))
    if kind == 'subclass': model[1][0] = type('Conv', (nn.Conv2d,), {})(8, 16, 3, stride=2, padding=1)
    return model


kinds = ['forward', 'pre-forward', 'backward', 'pre-backward', 'gradient', 'accumulated', 'parametrized', 'patched', 'weight norm', 'dropout', 'subclass']


@pytest.mark.parametrize('make', [Views, *[partial(hooked, k) for k in kinds]], ids=['views', *kinds])
def test_a_model_that_minds_is_trained_as_by_a_learner(dls, make):
    set_seed(0)
    model = make()
    theirs, note = deepcopy(model) if make is Views else None, Note()
    learn = fit(model, dls, 2, 0.01, seed=0, progress=False, cbs=note)
    assert not any(note.images) or make.args == ('accumulated',)
    assert len(learn.recorder.losses) == 14
    if theirs:
        assert not any(note.images)
        set_seed(0)
        dls.train.rng.seed(0)
        plain = Learner(dls, theirs, F.cross_entropy)
        with quiet(plain): plain.fit(2, 0.01)
        np.testing.assert_allclose(learn.recorder.losses, plain.recorder.losses, atol=1e-6)


class Registers(Callback):
    "Puts a hook that calls `view` on a layer when training begins."
    def before_fit(self): self.handle = self.learn.model[1][0].register_forward_hook(view)
    def after_fit(self): self.handle.remove()


def test_a_callback_that_registers_hooks(dls):
    fit(simple_cnn, dls, 1, 0.01, progress=False, cbs=[Registers(), note := Note()])
    assert not any(note.images)


@pytest.mark.parametrize('model', [nn.Sequential(nn.Conv2d(1, 2, 3)), nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten()), Views(),
                                   nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(), nn.Flatten())], ids=lambda m: repr(m)[:30].split('\n')[-1])
def test_what_else_is_left_alone(model): assert not takes_any_order(model) and takes_any_order(simple_cnn(norm=nn.BatchNorm2d))


# The model that is trained is the reader's own

def tied(how):
    "Two convolutions that share their weights, in one of several ways."
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1),
                          nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))
    if how == 'one tensor as data': model[4].weight.data = model[2].weight.data
    if how == 'one parameter': model[4].weight = model[2].weight
    if how == 'a view of the other': model[4].weight.data = model[2].weight.data.flatten().view(4, 4, 3, 3)
    if how == 'one layer twice': model[4] = model[2]
    if how == 'one vector':
        nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(model.parameters()).detach().clone(), model.parameters())
    return model


@pytest.mark.parametrize('how', ['apart', 'one tensor as data', 'one parameter', 'a view of the other', 'one layer twice', 'one vector'])
@pytest.mark.parametrize('opt_func', [Adam, SGD], ids=lambda o: o.__name__)
def test_shared_weights_stay_shared(dls, how, opt_func):
    model, theirs = tied(how), tied(how)
    where = [p.data_ptr() for p in model.parameters()]
    fit(model, dls, 2, 0.01, seed=3, progress=False, opt_func=opt_func)
    set_seed(3)
    for dl in dls.loaders: dl.rng.seed(3)
    learn = Learner(dls, theirs, CrossEntropyLossFlat(), opt_func)
    with quiet(learn): learn.fit(2, 0.01)
    assert [p.data_ptr() for p in model.parameters()] == where
    for p, q in zip(model.parameters(), theirs.parameters(), strict=True): torch.testing.assert_close(p, q, rtol=1e-4, atol=2e-5)


def test_neither_learner_nor_model_is_changed_but_by_training(dls):
    seen = []
    class Look(Callback):
        order = 3000
        def after_pred(self):
            learn = self.learn
            seen.append((type(learn), set(vars(learn)) & set(dir(Learner)), [k for m in learn.model.modules() for k in vars(m) if k == 'forward']))
    model = simple_cnn(norm=nn.BatchNorm2d)
    fit(model, dls, 1, 0.01, progress=False, cbs=Look())
    assert all(o[0] is Learner and not o[1] - set(vars(Learner(dls, model, F.cross_entropy))) and not o[2] for o in seen) and len(seen) > 7


class Save(Callback):
    "Saves the model in the middle of training, at several moments."
    def __init__(self, folder): self.folder = folder
    def save(self, name):
        torch.save(self.learn.model, self.folder/f'{name}.pt')
        torch.save(self.learn.model.state_dict(), self.folder/f'{name}-state.pt')
    def after_pred(self): self.save('after_pred')
    def after_backward(self): self.save('after_backward')
    def after_batch(self):
        if self.learn.training:
            self.save('after_batch')
            self.copy = deepcopy(self.learn.model)
    def after_epoch(self): self.save('after_epoch')


@pytest.mark.parametrize('stats', [True, False])
def test_a_model_saved_on_the_way_needs_no_convlab(dls, tmp_path, stats):
    learn = fit(simple_cnn(norm=nn.BatchNorm2d), dls, 1, 0.01, stats=stats, progress=False, cbs=[save := Save(tmp_path), note := Note()])
    assert set(note.images) == {True} and all(torch.equal(p, q) for p, q in zip(save.copy.parameters(), learn.model.parameters()))
    code = f"""
import sys, torch
from pathlib import Path
for name in ('convlab', 'fastai', 'fastcore'): sys.modules[name] = None
folder = Path({str(tmp_path)!r})
for name in ('after_pred', 'after_backward', 'after_batch', 'after_epoch'):
    model = torch.load(folder/f'{{name}}.pt', weights_only=False)
    model.load_state_dict(torch.load(folder/f'{{name}}-state.pt', weights_only=True))
    assert model.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
"""
    subprocess.run([sys.executable, '-c', code], check=True, cwd=tmp_path, env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'})
    state = torch.load(tmp_path/'after_batch-state.pt')
    assert all(torch.equal(v, state[k]) for k, v in learn.model.state_dict().items())  # the last batch's


# Loaders of all kinds

def digits_of(dl): return list(zip(dl.dataset.arrays[0].unsqueeze(1)/255., dl.dataset.arrays[1]))


def loaders_of(kind, dls):
    train, valid = digits_of(dls.train), digits_of(dls.valid)
    if kind == 'chapter 4': return DataLoaders(DataLoader(train, batch_size=64), DataLoader(valid, batch_size=64))
    if kind == 'shuffled': return DataLoaders(DataLoader(train, batch_size=64, shuffle=True), DataLoader(valid, batch_size=64))
    if kind == 'with a device': return DataLoaders(DataLoader(train, bs=64), DataLoader(valid, bs=64), device='cpu')
    if kind == 'TfmdDL': return DataLoaders(TfmdDL(train, bs=64, num_workers=0), TfmdDL(valid, bs=64, num_workers=0))
    if kind == 'from_dsets': return DataLoaders.from_dsets(train, valid, bs=64, num_workers=0)
    if kind == 'PyTorch': return DataLoaders(*[torch.utils.data.DataLoader(o, batch_size=64) for o in (train, valid)])
    if kind == 'three': return DataLoaders(*[DataLoader(o, bs=64) for o in (train, valid, valid)])


@pytest.mark.parametrize('kind', ['chapter 4', 'shuffled', 'with a device', 'TfmdDL', 'from_dsets', 'PyTorch', 'three'])
def test_loaders_of_all_kinds_train_as_with_a_learner(dls, kind):
    kind_of = loaders_of(kind, dls)
    ours = fit(simple_cnn, kind_of, 1, 0.01, seed=1, progress=False)
    set_seed(1)
    for dl in kind_of.loaders:
        if hasattr(dl, 'rng'): dl.rng.seed(1)
    theirs = Learner(kind_of, simple_cnn(), CrossEntropyLossFlat(), metrics=accuracy)
    with quiet(theirs): theirs.fit(1, 0.01)
    np.testing.assert_allclose(ours.recorder.losses, theirs.recorder.losses, atol=1e-5)
    assert len(ours.recorder.losses) in (7, 8) and len(ours.activation_stats.layer_stats(0)[0]) == len(ours.recorder.losses)
