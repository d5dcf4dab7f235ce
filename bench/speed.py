"""What the course says about speed, measured side by side: `make bench`, or `make bench QUICK=1` in under three minutes.

Each arm of a group is a way to do the same thing. It has a process of its own, since the way in which OpenMP's threads wait is
settled when PyTorch is imported; the arms take turns, in another order each round; and each is measured with the machine quiet and,
in half as many rounds, with a busy program on one core. The table shows medians, their range, and first of all ratios to the first arm of the group. All
of it is kept in `bench/speed.json`, with a picture in `bench/speed.png` and a table for the lessons in `convlab/static/speed.csv`.
`python bench/speed.py --quick`, `--groups conv2d imports`, `--rounds 5`."""
import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

here = Path(__file__).resolve().parent
spin, sleep = {}, dict(OMP_WAIT_POLICY='PASSIVE')
busy_loop = 'while True: pass'


def seconds(f, *args, **kwargs):
    start = time.perf_counter()
    f(*args, **kwargs)
    return time.perf_counter()-start


def shortest(f, tries):
    "Of several calls the quickest: whatever else a machine does can only make one slower."
    return min(seconds(f) for _ in range(tries))


# Training: an epoch of the chapter's ten-digit network, 512 digits a batch, validation included
def chapter_epoch(share):
    import torch  # noqa: F401  before convlab, which would have its threads sleep
    from chapter import FastaiStats, chapter_dls, simple_cnn
    from convlab.study.data import mnist_path
    return learner_epoch(chapter_dls(mnist_path(), False, 512), simple_cnn(), [FastaiStats(with_hist=True)], share)


def learner_epoch(dls, model, cbs, share):
    from convlab.all import F, Learner, ShortEpochCallback, accuracy
    learn = Learner(dls, model, loss_func=F.cross_entropy, metrics=accuracy, cbs=cbs+[ShortEpochCallback(share, short_valid=True)]*(share < 1))
    with learn.no_bar(): return seconds(learn.fit, 1, .06)


def fit_epoch(share, stats):
    import torch  # noqa: F401  before convlab, so that the environment alone says how threads wait
    from chapter import FastaiStats
    from convlab.all import ShortEpochCallback, fit, get_dls, simple_cnn
    cbs = [ShortEpochCallback(share, short_valid=True)]*(share < 1) + [FastaiStats(with_hist=True)]*(stats == 'fastai')
    dls, model = get_dls(512), simple_cnn()
    return seconds(fit, model, dls, 1, .06, stats=stats == 'ours', progress=False, cbs=cbs)


def pixels():
    from convlab.study.data import load_mnist, mnist_path
    x, y, x_valid, y_valid = load_mnist(mnist_path())
    x, x_valid = [(o[:, None]/255.-.1307)/.3081 for o in (x, x_valid)]
    return x, y, x_valid, y_valid


def plain_epoch(share, whole):
    "A bare loop; its batches come item by item from a `DataLoader`, or whole."
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    from convlab.models import simple_cnn
    x, y, x_valid, y_valid = pixels()
    n = int(len(x)*share)//512*512
    model = simple_cnn()
    opt = torch.optim.Adam(model.parameters(), .06)
    loader = DataLoader(TensorDataset(x[:n], y[:n]), 512, shuffle=True)
    def whole_batches(): return ((x[i], y[i]) for i in torch.randperm(n).split(512))

    def epoch():
        for xb, yb in whole_batches() if whole else loader:
            torch.nn.functional.cross_entropy(model(xb), yb).backward()
            opt.step()
            opt.zero_grad()
        with torch.no_grad(): return [(model(xb).argmax(1) == yb).sum() for xb, yb in zip(x_valid.split(512), y_valid.split(512))]
    return seconds(epoch)


def ladder_epoch(share, threads=None, keep=True):
    "The ladder's quickest loop, 128 digits a batch."
    import torch
    from convlab.study.ladder import Recipe, keep_memory, train_quickly
    torch.set_num_threads(threads or os.cpu_count())
    if keep: keep_memory()
    x, y = pixels()[:2]
    return train_quickly(x, y, Recipe(channels=(8, 16, 32), pool=True, epochs=share, bs=128, lr=.015, shift=0, margin=2))[1]


# Convolutions: 64 digits through a layer as the chapter's second, 8 channels to 16, 14 by 14 pixels
def convolution(method):
    import torch
    from convlab.convolutions import conv2d
    x, w, b = torch.rand(64, 8, 14, 14), torch.randn(16, 8, 3, 3), torch.randn(16)
    how = {} if method == 'torch' else dict(method=method)
    f = torch.nn.functional.conv2d if method == 'torch' else conv2d
    call = lambda: f(x, w, b, stride=2, padding=1, **how)  # noqa: E731
    call()
    return shortest(call, 20)


def table(tool):
    import arithmetic
    if tool == 'torchlens': import torchlens  # noqa: F401  so that a machine without it says so
    model, x = arithmetic.build('resnet50')
    arithmetic.tools[tool](model, x)
    return shortest(lambda: arithmetic.tools[tool](model, x), 3)


def loading(first):
    from convlab.study.data import load_mnist, mnist_path
    path = mnist_path()
    if first: (path/'arrays.npz').unlink(missing_ok=True)
    else: load_mnist(path)
    return seconds(load_mnist, path)


def importing(what): return seconds(__import__, what)


groups = {
    'an epoch of 512 digits': {
        "the chapter's cell, threads as they come": (chapter_epoch, spin), "the chapter's cell, threads that sleep": (chapter_epoch, sleep),
        'PyTorch, DataLoader, no statistics': (lambda share: plain_epoch(share, False), sleep),
        'PyTorch, whole batches, no statistics': (lambda share: plain_epoch(share, True), sleep),
        'fit': (lambda share: fit_epoch(share, 'ours'), sleep), "fit, fastai's statistics": (lambda share: fit_epoch(share, 'fastai'), sleep),
        'fit, no statistics': (lambda share: fit_epoch(share, None), sleep),
        'fit, threads as they come': (lambda share: fit_epoch(share, 'ours'), spin)},
    "an epoch of the ladder's quickest loop": {
        'threads as they come': (ladder_epoch, spin), 'threads that sleep': (ladder_epoch, sleep),
        'one thread': (lambda share: ladder_epoch(share, threads=1), spin), 'memory given back': (lambda share: ladder_epoch(share, keep=False), spin)},
    'conv2d': {'F.conv2d': (lambda _: convolution('torch'), sleep)} | {
        method: (lambda _, method=method: convolution(method), sleep) for method in ('im2col', 'matrix', 'fft', 'loops')},
    'arithmetic of ResNet-50': {tool: (lambda _, tool=tool: table(tool), sleep) for tool in ('forward', 'convlab', 'torchinfo', 'torchlens')},
    'loading the digits': {'first time': (lambda _: loading(True), sleep), 'later': (lambda _: loading(False), sleep)},
    'imports': {what: (lambda _, what=what: importing(what), sleep) for what in ('torch', 'convlab', 'convlab.all', 'fastai.vision.all')},
}


def measure(group, arm, share, busy):
    "Seconds that a process of its own took, or why it could not."
    env = {k: v for k, v in os.environ.items() if k not in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')} | groups[group][arm][1]
    other = subprocess.Popen([sys.executable, '-c', busy_loop]) if busy else None
    try: done = subprocess.run([sys.executable, __file__, '--one', group, arm, str(share)], env=env, capture_output=True, text=True)
    finally:
        if other: other.kill(), other.wait()
    if done.returncode: return dict(error=(done.stderr.strip().splitlines() or [f'ended with {done.returncode}'])[-1][:100])
    return float(done.stdout.split()[-1])


def compare(group, rounds, share, busy):
    "Seconds of each arm, `[rounds]`, in turns; each round begins with another."
    arms = list(groups[group])
    times = {arm: [] for arm in arms}
    for i in range(rounds):
        for arm in arms[i % len(arms):] + arms[:i % len(arms)]:
            if not any(isinstance(t, dict) for t in times[arm]): times[arm].append(measure(group, arm, share, busy))
    return times


def line(arm, times, base):
    if wrong := next((t['error'] for t in times if isinstance(t, dict)), None): return f'  {arm:42} {wrong}'
    middle = statistics.median(times)
    return f'  {arm:42} x {middle/base:7.2f}   {middle:9.4f} s   ({min(times):.4f} to {max(times):.4f})'


def show(group, load, times):
    base = statistics.median(next(iter(times.values())))
    print(f'\n{group}, {load}', *(line(arm, ts, base) for arm, ts in times.items()), sep='\n', flush=True)


def csv_lines(found):
    "A line for each arm: seconds in the middle, at least, at most."
    yield 'group,load,arm,seconds,shortest,longest'
    for group, loads in found.items():
        for load, arms in loads.items():
            for arm, ts in arms.items():
                if not isinstance(ts[-1], dict): yield f'{group},{load},"{arm}",{statistics.median(ts):.6g},{min(ts):.6g},{max(ts):.6g}'


def machine():
    import torch
    model = next((row.split(':')[1].strip() for row in open('/proc/cpuinfo') if 'model name' in row), '') if Path('/proc/cpuinfo').exists() else ''
    return dict(processor=model or platform.processor(), cores=os.cpu_count(), system=platform.system(), python=platform.python_version(),
                torch=torch.__version__, day=time.strftime('%Y-%m-%d'))


def picture(found, file):
    "A row of bars for each group: ratios to its first arm, quiet and busy."
    import matplotlib
    matplotlib.use('agg')
    from matplotlib import pyplot as plt
    fig, axs = plt.subplots(len(found), 1, figsize=(8, 1.2+1.9*len(found)), squeeze=False, layout='constrained')
    for ax, (group, loads) in zip(axs.flat, found.items()):
        for k, (load, times) in enumerate(loads.items()):
            good = {arm: statistics.median(ts) for arm, ts in times.items() if not isinstance(ts[-1], dict)}
            base = next(iter(good.values()))
            ax.barh([i+.35*k for i in range(len(good))], [t/base for t in good.values()], .33, label=load, color=('#4477aa', '#ee8866')[k])
        ax.set(title=group, yticks=range(len(good)), yticklabels=good, xscale='log', xlabel='times as long as the first')
        ax.axvline(1, color='0.5', lw=.8)
        ax.invert_yaxis()
    axs[0, 0].legend()
    fig.savefig(file, dpi=120)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--groups', nargs='+', default=list(groups), choices=list(groups))
    ap.add_argument('--rounds', type=int, default=3)
    ap.add_argument('--share', type=float, default=1., help='of an epoch')
    ap.add_argument('--quick', action='store_true', help='a tenth of an epoch, one round, nothing busy, nothing kept')
    ap.add_argument('--one', nargs=3, help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.one:
        warnings.simplefilter('ignore')
        group, arm, share = args.one
        with contextlib.redirect_stdout(io.StringIO()): took = groups[group][arm][0](float(share))
        return print(took)
    rounds, share, loads = (1, .1, ['quiet']) if args.quick else (args.rounds, args.share, ['quiet', 'one core busy'])
    print(', '.join(f'{k} {v}' for k, v in machine().items()))
    found = {}
    for group in args.groups:
        found[group] = {load: compare(group, rounds if load == 'quiet' else (rounds+1)//2, share, load != 'quiet') for load in loads}
        for load, times in found[group].items(): show(group, load, times)
    if args.quick: return
    (here/'speed.json').write_text(json.dumps(dict(machine=machine(), rounds=rounds, share_of_an_epoch=share, seconds=found), indent=1)+'\n')
    picture(found, here/'speed.png')
    (here.parent/'convlab'/'static'/'speed.csv').write_text('\n'.join(csv_lines(found))+'\n')


if __name__ == '__main__': main()
