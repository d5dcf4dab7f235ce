"""The whole of the chapter's training, through fastai's pipeline as the chapter writes it and through ours, in turns.

Six runs on all of MNIST with the chapter's networks, epochs, learning rates and batch sizes, statistics of the activations where
the chapter has them. The chapter's side opens PNG files and uses fastai's `ActivationStats`; ours takes the same digits out of
arrays. Each run has a process of its own, since the way in which OpenMP's threads wait is settled when PyTorch is imported. They
spin unless told otherwise, and take the cores away from the workers that open the chapter's files; so the chapter runs in both ways:
as a reader of the book would start it, and with `OMP_WAIT_POLICY=PASSIVE`, as ours does. Seconds are those of training, validation
included. Reading the arrays (about a second, or once and for all the time to decode the files) is counted in the last line.
`python bench/chapter.py`, or `--runs T2 T4` for some, `--rounds 3` for medians."""
import argparse
import json
import os
import subprocess
import sys
import time
import warnings

import torch  # noqa: F401  before convlab, which would have its threads sleep
from convlab.all import *  # noqa: F403
from fastai.callback.hook import ActivationStats as FastaiStats

policies = dict(spin={}, sleep=dict(OMP_WAIT_POLICY='PASSIVE'))
# name: 3s and 7s only?, batch size, epochs, learning rate, 1cycle?, batch norm?
runs = dict(T1=(True, 64, 2, 0.01, True, False), T2=(False, 64, 1, 0.06, False, False), T3=(False, 512, 1, 0.06, False, False),
            T4=(False, 512, 1, 0.06, True, False), T5=(False, 512, 1, 0.06, True, True), T6=(False, 512, 5, 0.1, True, True))


def network(sample, bn):
    norm = nn.BatchNorm2d if bn else None
    return simple_cnn((1, 4, 8, 16, 32, 2), ks0=3) if sample else simple_cnn(norm=norm)


def chapter_dls(path, sample, bs):
    "As the chapter does: image files, opened in every epoch; pixels normalized in the second half only."
    split = GrandparentSplitter() if sample else GrandparentSplitter('training', 'testing')
    block = DataBlock((ImageBlock(cls=PILImageBW), CategoryBlock), get_items=get_image_files, splitter=split, get_y=parent_label,
                      batch_tfms=None if sample else Normalize())
    return block.dataloaders(path, bs=bs)


def chapter_fit(dls, model, epochs, lr, one_cycle, stats):
    learn = Learner(dls, model, loss_func=F.cross_entropy, metrics=accuracy, cbs=FastaiStats(with_hist=True) if stats else None)
    (learn.fit_one_cycle if one_cycle else learn.fit)(epochs, lr)
    return learn


def timed(f):
    start = time.perf_counter()
    res = f()
    return res, time.perf_counter()-start


def once(name, path, chapter):
    "Seconds of data and of training, and accuracy, of one run: the chapter's or ours."
    sample, bs, epochs, lr, one_cycle, bn = runs[name]
    if chapter: dls, t_data = timed(lambda: chapter_dls(path, sample, bs))
    else: dls, t_data = timed(lambda: get_dls(bs, path, normalize=not sample))
    set_seed(0)
    model = network(sample, bn)
    if chapter: learn, t_fit = timed(lambda: chapter_fit(dls, model, epochs, lr, one_cycle, not sample))
    else: learn, t_fit = timed(lambda: fit(model, dls, epochs, lr, one_cycle, not sample, seed=0))
    return t_data, t_fit, learn.recorder.values[-1][2]


def measure(name, chapter, policy):
    "Such a run in a process of its own, whose threads wait as `policy` says: OpenMP asks for it once, at the start."
    env = {k: v for k, v in os.environ.items() if k not in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')} | policies[policy]
    cmd = [sys.executable, __file__, '--one', name, 'chapter' if chapter else 'ours']
    done = subprocess.run(cmd, env=env, capture_output=True, text=True, check=True)
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def row(name, rounds):
    "Medians of seconds for data and for training, and of accuracy: the chapter's in both ways of waiting, ours, in turns."
    arms = dict(spin=(True, 'spin'), sleep=(True, 'sleep'), ours=(False, 'sleep'))
    got = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, (chapter, policy) in arms.items(): got[arm].append(measure(name, chapter, policy))
    return {arm: np.median(ts, axis=0) for arm, ts in got.items()}


def said(name, spin, sleep, ours):
    return (f"{name}: chapter {spin:.1f} s with OpenMP's threads as they come, {sleep:.1f} s with threads that sleep while they wait"
            f" · ours {ours:.1f} s · {spin/ours:.1f} and {sleep/ours:.1f} times faster")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--runs', nargs='+', default=list(runs), choices=list(runs))
    ap.add_argument('--rounds', type=int, default=1)
    ap.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.one:
        warnings.filterwarnings('ignore', 'You are shadowing')  # fastai's ActivationStats
        name, side = args.one
        return print('\n', json.dumps(once(name, mnist_path(runs[name][0]), side == 'chapter')), sep='')
    total = {}
    for name in args.runs:
        arms = row(name, args.rounds)
        print(said(name, *(ts[1] for ts in arms.values())), '· accuracy', *(f'{ts[2]:.4f}' for ts in arms.values()), flush=True)
        for arm, ts in arms.items(): total[arm] = total.get(arm, 0)+ts
    print(said('in total', *(ts[1] for ts in total.values())))
    print(said('with loading the data', *(ts[0]+ts[1] for ts in total.values())))


if __name__ == '__main__': main()
