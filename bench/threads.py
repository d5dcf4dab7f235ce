"""How much a busy program on one core slows training down, while OpenMP's threads spin and while they sleep.

    python bench/threads.py [--rounds 3] [--share 0.2]

Threads that compute together wait for the slowest. OpenMP's usual way of waiting is to count in circles for a while, so that a
thread whose core is taken holds up all others at their full cost. `OMP_WAIT_POLICY=PASSIVE` lets them sleep. OpenMP reads it
once, when PyTorch is imported: so every run has a process of its own. As many threads as there are cores, or two.
Seconds of a part of an epoch, and how many times as long as the quickest way with nothing beside it."""
import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

root = Path(__file__).resolve().parent.parent
policies = {'spin': {}, 'sleep': dict(OMP_WAIT_POLICY='PASSIVE')}
busy_loop = 'while True: pass'


def train(share: float) -> float:  # seconds
    "Train for `share` of an epoch with batches of 64 digits, after a short warm-up."
    from convlab.all import ShortEpochCallback, fit, get_dls, mnist_path, simple_cnn
    dls = get_dls(64, mnist_path())
    def epoch(part): fit(simple_cnn, dls, lr=0.01, seed=0, progress=False, cbs=ShortEpochCallback(part))
    epoch(share/10)
    start = time.perf_counter()
    epoch(share)
    return time.perf_counter()-start


def measure(policy: dict, busy: bool, share: float, threads: int) -> float:  # seconds
    "Train in a process of its own, beside a busy program or not."
    env = {k: v for k, v in os.environ.items() if k not in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')}
    env |= policy | dict(OMP_NUM_THREADS=str(threads), PYTHONPATH=str(root))
    other = subprocess.Popen([sys.executable, '-c', busy_loop]) if busy else None
    try: done = subprocess.run([sys.executable, __file__, '--train', str(share)], env=env, capture_output=True, text=True, check=True)
    finally:
        if other: other.kill(), other.wait()
    return float(done.stdout.split()[-1])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--rounds', type=int, default=3)
    ap.add_argument('--share', type=float, default=0.2, help='of an epoch')
    ap.add_argument('--train', type=float, help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.train: return print(train(args.train))
    threads = max(2, os.cpu_count() or 1)
    times = {(name, busy): [] for busy in (False, True) for name in policies}
    for _ in range(args.rounds):
        for name, busy in times: times[name, busy].append(measure(policies[name], busy, args.share, threads))
    best = min(statistics.median(times[name, False]) for name in policies)
    print(f'{args.share:g} of an epoch, {threads} threads on {os.cpu_count()} cores, median of {args.rounds} rounds')
    for (name, busy), ts in times.items():
        middle = statistics.median(ts)
        print(f"  threads {name:5}  {'a busy program beside' if busy else 'nothing beside':22} {middle:7.2f} s   x {middle/best:.1f}", flush=True)


if __name__ == '__main__': main()
