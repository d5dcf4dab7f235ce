"""The whole of the chapter's training, through fastai's pipeline as the chapter writes it and through ours, in turns.

Six runs on all of MNIST with the chapter's networks, epochs, learning rates and batch sizes, statistics of the activations where
the chapter has them. The chapter's side opens PNG files and uses fastai's `ActivationStats`; ours takes the same digits out of
arrays, runs before the chapter's and again after it, and counts with its mean. Seconds are those of training, validation included.
Reading the arrays (about a second, or once and for all the time to decode the files) is shown apart and counted in the total.
`python bench/chapter.py`, or `--runs T2 T4` for some."""
import argparse
import time
import warnings

from convlab.all import *  # noqa: F403
from fastai.callback.hook import ActivationStats as FastaiStats

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


def once(name, paths, chapter):
    "Seconds of data and of training, and accuracy, of one run: the chapter's or ours."
    sample, bs, epochs, lr, one_cycle, bn = runs[name]
    if chapter: dls, t_data = timed(lambda: chapter_dls(paths[sample], sample, bs))
    else: dls, t_data = timed(lambda: get_dls(bs, paths[sample], normalize=not sample))
    set_seed(0)
    model = network(sample, bn)
    if chapter: learn, t_fit = timed(lambda: chapter_fit(dls, model, epochs, lr, one_cycle, not sample))
    else: learn, t_fit = timed(lambda: fit(model, dls, epochs, lr, one_cycle, not sample, seed=0))
    return t_data, t_fit, learn.recorder.values[-1][2]


def both(name, paths):
    "The chapter's run, and the mean of ours before and after it: a machine's speed may change meanwhile."
    before, theirs, after = [once(name, paths, chapter) for chapter in (False, True, False)]
    return theirs, [(a+b)/2 for a, b in zip(before, after)]


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--runs', nargs='+', default=list(runs), choices=list(runs))
    names = ap.parse_args().runs
    warnings.filterwarnings('ignore', 'You are shadowing')  # fastai's ActivationStats
    paths = {sample: mnist_path(sample) for sample in {runs[n][0] for n in names}}
    rows = []
    for name in names:
        (data0, fit0, acc0), (data1, fit1, acc1) = both(name, paths)
        rows.append((data0, fit0, data1, fit1))
        print(f'\n{name}: chapter {fit0:.1f} s, {acc0:.4f} · ours {fit1:.1f} s, {acc1:.4f} · {fit0/fit1:.1f} times faster', flush=True)
    data0, fit0, data1, fit1 = map(sum, zip(*rows))
    print(f'total: chapter {fit0:.0f} s · ours {fit1:.0f} s · {fit0/fit1:.1f} times faster; '
          f'with loading the data {data0+fit0:.0f} s · {data1+fit1:.0f} s · {(data0+fit0)/(data1+fit1):.1f} times')


if __name__ == '__main__': main()
