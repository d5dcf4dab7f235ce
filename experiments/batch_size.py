"""What does the batch size alone change, and which learning rate suits it?

The ten-digit network, Adam: batches of 64, 256 and 512 digits at equal updates (117), and of 64 at equal epochs
(60,000 digits, as 117 batches of 512 are: 937 updates), at a constant rate and with 1cycle; over learning rates. One row a run: accuracy on the 10,000 validation digits (choose the
rate by it), on the test set (report that of the chosen rate), and whether the run collapsed (accuracy under one half).
Runs that `schedule.py` has made are not made again. It takes one core a quarter of an hour: `python experiments/batch_size.py` writes `convlab/static/batch_size.csv`."""
from common import study
from schedule import run  # noqa: F401


def grid(bs, steps, rates, schedules=('constant', '1cycle')): return dict(bs=[bs], steps=[steps], lr=rates, schedule=schedules)


if __name__ == '__main__':
    updates = [grid(64, 117, [.001, .003, .01, .03, .1]), grid(256, 117, [.001, .003, .01, .03, .1]), grid(512, 117, [.003, .01, .03, .06, .1])]
    runs = study(__file__, run, *[(o, 5) for o in [*updates, grid(64, 937, [.001, .003, .01, .06], ['constant']), grid(64, 937, [.003, .01, .03, .06], ['1cycle'])]])
    print(runs.groupby(['steps', 'bs', 'schedule', 'lr'])[['valid', 'test', 'collapsed']].mean().round(4).to_string())
