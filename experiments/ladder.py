"""How few seconds buy how many digits? The ladder's rungs, the frontier, and two finish lines.

Every choice is made on 10,000 validation digits that are taken out of the training set, with 50,000 to learn from; the lines then
learn from all 60,000 by one recipe each, and the test set is read once a seed. `rung`: the smallest network, two epochs, one thing more
from rung to rung, four seeds, three rates and one more where the best lay at an end. `frontier`: four networks at several lengths, three
seeds. `line`: mean 99.0 % over ten seeds, mean 99.5 % over five, and the best that three minutes can buy. `took` is the seconds of
training, from data in memory to trained weights, on two threads; beside each line's first runs an epoch of the chapter's own cell is
timed in turns, with threads as they come and with threads that sleep (`bench/speed.py`). `python experiments/ladder.py rung frontier`
takes fifty minutes of two cores that may be busy, and `python experiments/ladder.py line` half an hour of a quiet machine. They write
`convlab/static/ladder.csv` and `ladder_lines.csv`."""
import os
import subprocess
import sys
import time

if 'line' in sys.argv:  # alone on its machine: threads that wait may spin for a moment, as they do unless told otherwise
    os.environ['OMP_NUM_THREADS'] = '2'
    os.environ.pop('OMP_WAIT_POLICY', None)
import torch  # noqa: E402, F401  before convlab, which would have its threads sleep
from common import digits, here, study, swept, torch, write  # noqa: E402

from convlab.study.ladder import Recipe, answers, keep_memory, train_quickly  # noqa: E402

torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
keep_memory()
small, large, strided = dict(channels=(8, 16, 32), pool=True), dict(channels=(16, 32, 64), pool=True), dict(channels=(8, 16, 64))
larger = dict(channels=(24, 48, 96), pool=True)
plain = small | dict(epochs=2, one_cycle=False, smooth=0., shift=0, bs=512)
rungs = {'constant rate': plain, '1cycle': plain | dict(one_cycle=True), 'batches of 256': plain | dict(one_cycle=True, bs=256)}
rungs['label smoothing'] = rungs['batches of 256'] | dict(smooth=.1)
rungs['moved by a pixel'] = rungs['label smoothing'] | dict(shift=1)
rungs['whitened start'] = rungs['label smoothing'] | dict(whiten=True)
rungs['margins cut off'] = rungs['label smoothing'] | dict(margin=2)
rungs['five looks'] = rungs['margins cut off'] | dict(look=1)
rungs['averaged weights, constant rate'] = plain | dict(average=.98)
nets = {'three strides': strided, 'small': small, 'large': large, 'larger': larger}
lengths = {'three strides': (.5, 1, 2, 4), 'small': (.5, 1, 2, 4, 8), 'large': (1, 3, 8), 'larger': (1, 3)}
long = larger | dict(lr=.01, shift=2, look=1, margin=2)
lines = {'99.0 %': small | dict(epochs=1, bs=128, lr=.015, shift=0, look=1, margin=2), '99.5 %': long | dict(epochs=6),
         'three minutes': long | dict(epochs=20)}
seeds = {'99.0 %': 10, '99.5 %': 5, 'three minutes': 2}


def measure(recipe, x, y, seed, **parts):
    start = time.process_time()
    model, seconds = train_quickly(x, y, recipe, seed)
    cpu = time.process_time()-start
    return dict(took=seconds, processor=cpu) | {k: (answers(model, a, recipe) == b).float().mean().item() for k, (a, b) in parts.items()}


def run(seed, part, name, epochs, lr):
    moves = dict(shift=2 if epochs > 4 else 1 if epochs > 2 else 0, look=1, margin=2)
    change = rungs[name] if part == 'rung' else nets[name] | dict(epochs=epochs) | moves
    return measure(Recipe(**change | dict(lr=lr)), *digits()['train'], seed, valid=digits()['valid'])


def chapter(threads):
    "Seconds of an epoch of the chapter's own cell, in a process of its own."
    arm = f"the chapter's cell, threads {threads}"
    env = {k: v for k, v in os.environ.items() if k not in ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY')} | (
        dict(OMP_WAIT_POLICY='PASSIVE') if threads == 'that sleep' else {})
    cmd = [sys.executable, str(here.parent/'bench'/'speed.py'), '--one', 'an epoch of 512 digits', arm, '1']
    return float(subprocess.run(cmd, env=env, capture_output=True, text=True, check=True).stdout.split()[-1])


def line(seed, name):
    (x, y), (x2, y2) = [digits()[part] for part in ('train', 'valid')]
    found = measure(Recipe(**lines[name]), torch.cat([x, x2]), torch.cat([y, y2]), seed, test=digits()['test'])
    beside = {k: chapter(t) if seed < (3 if name == '99.0 %' else 1) else None for k, t in dict(chapter='as they come', chapter_asleep='that sleep').items()}
    return found | beside


if __name__ == '__main__':
    if 'line' in sys.argv:
        runs = swept(line, *[(dict(name=[name]), n) for name, n in seeds.items()])
        write('ladder_lines', runs)
        print(runs.groupby('name')[['test', 'took', 'processor', 'chapter', 'chapter_asleep']].agg(['mean', 'min', 'max']).round(4).to_string())
    else:
        high = [name for name in rungs if 'constant' not in name]  # those whose best of the three is the highest
        more = [(high, .04), (['constant rate'], .0025)]
        parts = [(dict(part=['rung'], name=list(rungs), epochs=[2], lr=[.005, .01, .02]), 4)]
        parts += [(dict(part=['rung'], name=names, epochs=[2], lr=[lr]), 4) for names, lr in more]
        parts += [(dict(part=['frontier'], name=[name], epochs=list(lengths[name]), lr=[.01 if name.startswith('large') else .02]), 3) for name in nets]
        runs = study(__file__, run, *parts)
        print(runs.groupby(['part', 'name', 'epochs', 'lr'], sort=False)[['valid', 'processor']].agg(['mean', 'std']).round(4).to_string())
