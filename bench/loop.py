"""What an epoch of `fit` costs beside a bare PyTorch loop over the same tensors, and with one thing more or less.

    python bench/loop.py [--bs 64 512] [--only VARIANT ...] [--rounds 6] [--share 1.0] [--cpu]

`without channels last` hands images over in their usual order, `with fused Adam` lets PyTorch update all parameters in one call,
`without statistics` records no activations and `without a bar` shows no progress. `nothing but fastai` is none of `fit`'s additions.
Every round begins with another variant, so that none always comes after the same one. Whatever else a machine does can only make
it slower, so the mean of each variant's faster half counts; the median of the paired ratios stands beside it.
On a machine that does other work too, `--share 0.2` takes a fifth of an epoch and `--cpu` compares processor time."""
import argparse
import contextlib
import io
import statistics
import time
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from convlab import compat  # noqa: F401  before fastai
from fastai.vision.all import Adam, CrossEntropyLossFlat, Learner, OptimWrapper, accuracy, set_seed
from convlab.study.data import get_dls, load_mnist, mnist_path
from convlab.study.fast import ChannelsLastBatch
from convlab.models import simple_cnn
from convlab.stats import ActivationStats

fused = partial(OptimWrapper, opt=torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5, fused=True)
# name: channels last?, optimizer, statistics?, progress bar?
variants = {'fit': (True, Adam, True, True), 'without channels last': (False, Adam, True, True), 'with fused Adam': (True, fused, True, True),
            'without statistics': (True, Adam, False, True), 'without a bar': (True, Adam, True, False),
            'nothing but fastai': (False, Adam, False, True)}


def epoch(model, dls, last, opt_func, stats, bar, lr=0.01):
    "What `fit` does, or a part of it."
    cbs = [ChannelsLastBatch()]*last + [ActivationStats(with_hist=True)]*stats
    learn = Learner(dls, model, CrossEntropyLossFlat(), opt_func, metrics=accuracy, cbs=cbs)
    shown = contextlib.redirect_stdout(io.StringIO()) if bar else learn.no_bar()
    with shown, learn.no_logging(): learn.fit(1, lr)


def bare(model, x, y, x_valid, y_valid, bs, lr=0.01):
    "One epoch with `torch.optim.AdamW` over normalized float tensors, then the accuracy on the validation set."
    opt = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), eps=1e-5, fused=True)
    for idx in torch.randperm(len(x))[:len(x)//bs*bs].view(-1, bs):
        F.cross_entropy(model(x[idx]), y[idx]).backward()
        opt.step()
        opt.zero_grad()
    model.eval()
    with torch.no_grad():
        preds = torch.cat([model(xb).argmax(1) for xb in x_valid.split(bs)])
    return (preds == y_valid).float().mean().item()


def seconds(f, clock):
    set_seed(0)
    start = clock()
    f()
    return clock()-start


def compare(path, bs, norm, args, clock):
    "Seconds an epoch of every variant, `[rounds]` each."
    digits = load_mnist(path)
    n, n_valid = [int(args.share*len(o)) for o in digits[::2]]
    x, y, x_valid, y_valid = digits[0][:n], digits[1][:n], digits[2][:n_valid], digits[3][:n_valid]
    mean, std = (x/255.).mean(), (x/255.).std()
    x, x_valid = [(o.unsqueeze(1)/255.-mean)/std for o in (x, x_valid)]
    dls = get_dls(bs, path)
    dls.train.n, dls.valid.n = n, n_valid
    ways = {'fit': None, 'bare loop': lambda: bare(simple_cnn(norm=norm), x, y, x_valid, y_valid, bs)}
    for name in ['fit', *args.only]: ways[name] = lambda name=name: epoch(simple_cnn(norm=norm), dls, *variants[name])
    names, times = list(ways), {k: [] for k in ways}
    for i in range(args.rounds+1):  # the first round warms up
        for k in names[i % len(names):] + names[:i % len(names)]:
            t = seconds(ways[k], clock)
            if i: times[k].append(t)
    return times


def faster_half(times: list) -> float:  # seconds
    return statistics.mean(sorted(times)[:(len(times)+1)//2])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--bs', type=int, nargs='+', default=[64, 512])
    others = list(variants)[1:]
    ap.add_argument('--only', nargs='*', default=others, choices=others, metavar='VARIANT', help='these beside fit: ' + '; '.join(others))
    ap.add_argument('--rounds', type=int, default=6)
    ap.add_argument('--share', type=float, default=1.)
    ap.add_argument('--cpu', action='store_true', help='processor time, not wall time')
    args = ap.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    path = mnist_path()
    for bs in args.bs:
        for norm in (None, nn.BatchNorm2d):
            times = compare(path, bs, norm, args, clock)
            print(f"batch {bs}{', batch norm' if norm else ''}, {'processor' if args.cpu else 'wall'} time, {args.rounds} rounds")
            base = faster_half(times['fit'])
            for k, ts in times.items():
                paired = statistics.median(t/b for t, b in zip(ts, times['fit']))
                print(f'  {k:22} {faster_half(ts):7.3f} s   x {faster_half(ts)/base:.3f}   (median of the rounds x {paired:.3f})', flush=True)


if __name__ == '__main__': main()
