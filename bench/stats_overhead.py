"""What recording activation statistics adds to an epoch: no statistics, fastai's ActivationStats and ours, turn and turn about.

    python bench/stats_overhead.py [--bs 64 512] [--rounds 12] [--share 1.0] [--threads 2]

An epoch is a Learner's: training on all digits out of memory, then validation. `--share 0.1` takes a tenth of it, more often; what a fit
costs once then weighs more.
Every round begins with another variant, so that none always comes after the same one. Whatever else a machine does can only make
it slower, so the mean of each variant's faster half counts; the median of the paired ratios stands beside it.
On a machine that does other work too, `--cpu` compares processor time instead of time on the clock.
"""
import argparse
import statistics
import time
import warnings

import torch
from convlab import compat  # noqa: F401  before fastai
from fastai.callback.hook import ActivationStats as FastaiStats
from fastai.vision.all import F, Learner, ShortEpochCallback, accuracy, set_seed
from convlab.data import get_dls
from convlab.models import simple_cnn
from convlab.stats import ActivationStats

variants = {
    'none': lambda: [],
    'fastai, histograms': lambda: [FastaiStats(with_hist=True)],
    'ours': lambda: [ActivationStats()],
    'ours, histograms': lambda: [ActivationStats(with_hist=True)],
    'ours, histograms, signed': lambda: [ActivationStats(with_hist=True, signed=True)],
}


def epoch(dls, cbs, share: float, clock) -> float:  # seconds
    "Train a fresh network from the same seed for one epoch."
    set_seed(0)
    if share < 1: cbs = cbs + [ShortEpochCallback(share, short_valid=True)]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # fastai's callback warns of the name it gives to its list of modules
        learn = Learner(dls, simple_cnn(), loss_func=F.cross_entropy, metrics=accuracy, cbs=cbs)
        with learn.no_bar(), learn.no_logging():
            start = clock()
            learn.fit(1, 0.06)
            return clock() - start


def faster_half(times: list) -> float:  # seconds
    "Mean of the faster half of `times`."
    return statistics.mean(sorted(times)[:(len(times)+1)//2])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--bs', type=int, nargs='+', default=[64, 512])
    ap.add_argument('--rounds', type=int, default=12)
    ap.add_argument('--share', type=float, default=1.)
    ap.add_argument('--threads', type=int, default=torch.get_num_threads())
    ap.add_argument('--cpu', action='store_true', help='processor time, not wall time')
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu else time.perf_counter
    for bs in args.bs:
        dls = get_dls(bs)
        times = {name: [] for name in variants}
        names = list(variants)
        for i in range(args.rounds+1):  # the first round warms up
            for name in names[i % len(names):] + names[:i % len(names)]:
                t = epoch(dls, variants[name](), args.share, clock)
                if i: times[name].append(t)
        print(f'batch size {bs}, {args.threads} threads, {"processor" if args.cpu else "wall"} time, {args.rounds} rounds')
        base = faster_half(times['none'])
        for name, ts in times.items():
            paired = statistics.median(t/b for t, b in zip(ts, times['none']))
            print(f'  {name:26} {faster_half(ts):7.3f} s   x {faster_half(ts)/base:.3f}   (median of the rounds x {paired:.3f})', flush=True)


if __name__ == '__main__': main()
