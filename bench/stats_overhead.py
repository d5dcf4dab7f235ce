"""What recording activation statistics adds to an epoch: no statistics, fastai's ActivationStats and ours, turn and turn about.

    python bench/stats_overhead.py                         the whole table: some 25 minutes
    python bench/stats_overhead.py --bs 512 --rounds 40 --only "ours, histograms"     one line of it, exactly

An epoch is a Learner's: training on all digits out of memory, then validation. `--share 0.1` takes a tenth of it, more often; what a fit
costs once then weighs more.
Every round begins with another variant, so that none always comes after the same one. Whatever else a machine does can only make
it slower, so the mean of each variant's faster half counts; the median of the ratios within a round stands beside it, with an
interval (95 %, bootstrapped over the rounds) that says whether there were enough of them.
On a machine that does other work too, `--cpu` compares processor time instead of time on the clock.
"""
import argparse
import random
import statistics
import time
import warnings

import torch
from convlab import compat  # noqa: F401  before fastai
from fastai.callback.hook import ActivationStats as FastaiStats
from fastai.vision.all import F, Learner, ShortEpochCallback, accuracy, set_seed
from convlab.study.data import get_dls
from convlab.models import simple_cnn
from convlab.stats import ActivationStats


variants = {
    'none': lambda: [],
    'fastai, histograms': lambda: [FastaiStats(with_hist=True)],
    'ours': lambda: [ActivationStats()],
    'ours, histograms': lambda: [ActivationStats(with_hist=True)],
    'ours, histograms, signed': lambda: [ActivationStats(with_hist=True, signed=True)],
}


def epoch(dls, name: str, share: float, clock) -> float:  # seconds
    "Train a fresh network from the same seed for one epoch."
    set_seed(0)
    cbs = variants[name]()
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


def interval(values: list) -> tuple:
    "The 95 % bootstrap interval of the median of `values`."
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[-51]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--bs', type=int, nargs='+', default=[64, 512])
    ap.add_argument('--rounds', type=int, default=20)
    ap.add_argument('--share', type=float, default=1.)
    ap.add_argument('--threads', type=int, default=torch.get_num_threads())
    ap.add_argument('--cpu', action='store_true', help='processor time, not wall time')
    others = list(variants)[1:]
    ap.add_argument('--only', nargs='+', choices=others, metavar='VARIANT', help='these beside none: ' + '; '.join(others))
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu else time.perf_counter
    names = ['none', *(args.only or list(variants)[1:])]
    for bs in args.bs:
        dls = get_dls(bs)
        times = {name: [] for name in names}
        for i in range(args.rounds+1):  # the first round warms up
            for name in names[i % len(names):] + names[:i % len(names)]:
                t = epoch(dls, name, args.share, clock)
                if i: times[name].append(t)
        print(f'batch size {bs}, {args.threads} threads, {"processor" if args.cpu else "wall"} time, {args.rounds} rounds')
        base = faster_half(times['none'])
        for name, ts in times.items():
            ratios = [t/b for t, b in zip(ts, times['none'])]
            low, high = interval(ratios)
            print(f'  {name:34} {faster_half(ts):7.3f} s   x {faster_half(ts)/base:.3f}   '
                  f'(within a round x {statistics.median(ratios):.3f}, from {low:.3f} to {high:.3f})', flush=True)


if __name__ == '__main__': main()
