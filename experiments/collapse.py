"""How often one epoch of the chapter's network ends in collapse, with and without 1cycle.

Trains `simple_cnn` on all of MNIST over a grid of batch sizes, learning rates and seeds, and adds a row a run to
`convlab/static/collapse.csv`, which `nbs/08_training.ipynb` shows. Runs already in the table are not repeated, so it can be
stopped at any time. The whole grid takes one core a quarter of an hour: `python experiments/collapse.py`."""
import csv
import os
from itertools import product
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')
from convlab.data import get_dls, mnist_path
from convlab.models import simple_cnn
from convlab.training import fit

table = Path(__file__).parent.parent/'convlab'/'static'/'collapse.csv'
names = ['bs', 'lr', 'one_cycle', 'seed', 'train_loss', 'valid_loss', 'accuracy']
sizes, rates, seeds = (64, 512), (0.01, 0.03, 0.06, 0.1), range(10)


def done() -> set:  # the runs that the table already has
    if not table.exists(): return set()
    with table.open() as f: return {(int(r['bs']), float(r['lr']), int(r['one_cycle']), int(r['seed'])) for r in csv.DictReader(f)}


def add(row):
    new = not table.exists()
    with table.open('a', newline='') as f:
        if new: csv.writer(f, lineterminator='\n').writerow(names)
        csv.writer(f, lineterminator='\n').writerow(row)


def main():
    path, have = mnist_path(), done()
    dls = {bs: get_dls(bs, path) for bs in sizes}
    for bs, seed, lr, one_cycle in product(sizes, seeds, rates, (0, 1)):
        if (bs, lr, one_cycle, seed) in have: continue
        learn = fit(simple_cnn, dls[bs], 1, lr, bool(one_cycle), stats=False, seed=seed, progress=False)
        values = [round(float(v), 5) for v in learn.recorder.values[-1]]
        add([bs, lr, one_cycle, seed, *values])
        print(bs, lr, one_cycle, seed, *values, flush=True)


if __name__ == '__main__': main()
