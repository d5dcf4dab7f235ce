"""What does the batch size alone change, and which learning rate suits it?

The ten-digit network, Adam, batches of 64 to 1,024 digits, at equal epochs (60,000 digits) and at equal updates (117), constant rate and 1cycle,
over learning rates wide enough that the best one is not always at the border. One row a run: accuracy on the 10,000 validation digits (choose the
rate by it), on the test set (report that of the chosen rate), and whether the run collapsed (accuracy under one half).
Runs that `schedule.py` has made are not made again. It takes one core fifteen minutes: `python experiments/batch_size.py` writes `convlab/static/batch_size.csv`."""
from common import study
from schedule import run  # noqa: F401

rates, schedules = [.001, .003, .01, .03, .1], ['constant', '1cycle']


def grid(bs, steps, rates=rates): return dict(bs=[bs], steps=[steps], lr=rates, schedule=schedules)


if __name__ == '__main__':
    epoch = [grid(bs, 60_000//bs) for bs in (1024, 512)] + [grid(64, 937, rates[:-1])]  # 512 makes 117 updates in an epoch
    updates = [grid(bs, 117) for bs in (64, 256)]
    runs = study(__file__, run, *[(o, 5) for o in updates + epoch])
    print(runs.groupby(['steps', 'bs', 'schedule', 'lr'])[['valid', 'test', 'collapsed']].mean().round(4).to_string())
