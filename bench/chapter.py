"""The whole of the chapter's training: through fastai's pipeline as the chapter writes it, through `fit`, and by a bare loop, in turns.

Six runs on all of MNIST with the chapter's networks, epochs, learning rates and batch sizes, statistics of the activations where
the chapter has them. The chapter's side opens PNG files and uses fastai's `ActivationStats`; `fit` takes the same digits out of
arrays. The bare loop is the ladder's best: whole batches, channels last, a fused optimizer, memory that is kept, and one thread if the
batch is small, with `record_activations` and without. It uses the same rule of learning as fastai: Adam with its constants, its 1cycle.
Each run has a process of its own, since the way in which OpenMP's threads wait is settled when PyTorch is imported. They spin unless
told otherwise, and take the cores away from the workers that open the chapter's files; so the chapter runs in both ways: as a reader of
the book would start it, and with `OMP_WAIT_POLICY=PASSIVE`, as `fit` does. Alone on its machine, the bare loop is quicker with threads
that spin. Seconds are those of training, validation included. Reading the arrays (about a second, or once and for all the time to
decode the files) is counted in the last line.
`python bench/chapter.py`, or `--runs T2 T4` for some, `--rounds 3` for medians."""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import warnings

import torch  # noqa: F401  before convlab, which would have its threads sleep
from convlab.all import *  # noqa: F403
from convlab.study.activations import record_activations
from convlab.study.ladder import keep_memory
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


def decoded(path, sample):
    "All digits in memory, as the network wants them."
    x, y, x_valid, y_valid = load_mnist(path)
    if sample: y, y_valid = y//7, y_valid//7  # 3 is class 0, 7 is class 1
    def ready(o): return o[:, None]/255. if sample else (o[:, None]/255.-.1307)/.3081
    return (ready(x), y), (ready(x_valid), y_valid)


def bare_fit(data, model, bs, epochs, lr, one_cycle, stats):
    "Accuracy after training in a bare loop."
    (x, y), valid = data
    keep_memory()
    torch.set_num_threads(1 if bs < 256 else os.cpu_count())
    model.to(memory_format=torch.channels_last).train()
    opt = torch.optim.AdamW(model.parameters(), lr, betas=(.9, .99), eps=1e-5, weight_decay=.01, fused=True)
    steps = len(x)//bs
    cycle = torch.optim.lr_scheduler.OneCycleLR(opt, lr, steps*epochs, pct_start=.25, final_div_factor=4000) if one_cycle else None
    with record_activations(model, with_hist=True) if stats else contextlib.nullcontext():
        for _ in range(epochs):
            for idx in torch.randperm(len(x))[:steps*bs].split(bs):
                F.cross_entropy(model(x[idx].clone(memory_format=torch.channels_last)), y[idx]).backward()
                opt.step()
                opt.zero_grad()
                if cycle: cycle.step()
            right = right_of(model, *valid, bs)
    return right


@torch.no_grad()
def right_of(model, x, y, bs):
    model.eval()
    right = sum((model(xb.clone(memory_format=torch.channels_last)).argmax(1) == yb).sum() for xb, yb in zip(x.split(bs), y.split(bs)))
    model.train()
    return right.item()/len(y)


def timed(f):
    start = time.perf_counter()
    res = f()
    return res, time.perf_counter()-start


def once(name, side):
    "Seconds of data and of training, and accuracy, of one run by one of the `sides`."
    sample, bs, epochs, lr, one_cycle, bn = runs[name]
    path = mnist_path(sample)
    data = dict(chapter=lambda: chapter_dls(path, sample, bs), fit=lambda: get_dls(bs, path, normalize=not sample),
                bare=lambda: decoded(path, sample))
    data, t_data = timed(data[side.split()[0]])
    set_seed(0)
    model, stats = network(sample, bn), not sample and side != 'bare'
    how = model, epochs, lr, one_cycle, stats
    if side == 'chapter': learn, t_fit = timed(lambda: chapter_fit(data, *how))
    elif side == 'fit': learn, t_fit = timed(lambda: fit(model, data, *how[1:], seed=0))
    else: right, t_fit = timed(lambda: bare_fit(data, model, bs, *how[1:]))
    return t_data, t_fit, right if side.startswith('bare') else learn.recorder.values[-1][2]


def measure(name, side, policy):
    "Such a run in a process of its own, whose threads wait as `policy` says: OpenMP asks for it once, at the start."
    env = {k: v for k, v in os.environ.items() if k not in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')} | policies[policy]
    done = subprocess.run([sys.executable, __file__, '--one', name, side], env=env, capture_output=True, text=True, check=True)
    return np.array(json.loads(done.stdout.splitlines()[-1]))


# name: whose side, and how threads wait
arms = {"the chapter's, threads as they come": ('chapter', 'spin'), "the chapter's, threads that sleep": ('chapter', 'sleep'),
        'fit': ('fit', 'sleep'), 'the bare loop with statistics': ('bare with statistics', 'spin'), 'the bare loop': ('bare', 'spin')}


def row(name, rounds):
    "For each arm the medians of seconds for data and for training, and of accuracy, in turns."
    got = {arm: [] for arm in arms}
    for i in range(rounds):
        turns = list(arms)[i:]+list(arms)[:i]
        for arm in turns: got[arm].append(measure(name, *arms[arm]))
    return {arm: np.median(ts, axis=0) for arm, ts in got.items()}


def show(title, seconds, right={}):
    "Each arm's `seconds`, and how many times as quick as the chapter's two ways it is."
    chapter = list(seconds.values())[:2]
    print(title, *(f'  {arm:36} {t:7.1f} s, {chapter[0]/t:5.1f} and {chapter[1]/t:5.1f} times as quick as the chapter'
                   + (f', accuracy {right[arm]:.4f}' if right else '') for arm, t in seconds.items()), sep='\n', flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--runs', nargs='+', default=list(runs), choices=list(runs))
    ap.add_argument('--rounds', type=int, default=1)
    ap.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.one:
        warnings.filterwarnings('ignore', 'You are shadowing')  # fastai's ActivationStats
        return print('\n', json.dumps(once(*args.one)), sep='')
    total = dict.fromkeys(arms, 0)
    for name in args.runs:
        found = row(name, args.rounds)
        show(name, {arm: ts[1] for arm, ts in found.items()}, {arm: ts[2] for arm, ts in found.items()})
        total = {arm: total[arm]+ts for arm, ts in found.items()}
    show('in total', {arm: ts[1] for arm, ts in total.items()})
    show('with loading the data', {arm: ts[0]+ts[1] for arm, ts in total.items()})


if __name__ == '__main__': main()
