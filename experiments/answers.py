"""What the tables in `convlab/static` say, with 95 % intervals: `python experiments/answers.py [NAME ...]`. README.md quotes these numbers."""
import sys

from common import here, pd

from convlab.study.sweep import paired, summarize

pd.set_option('display.width', 200, 'display.max_rows', 500)


def read(name): return pd.read_csv(here.parent/'convlab'/'static'/f'{name}.csv')


def show(title, table, digits=4): print(f'\n{title}\n{table.round(digits).to_string(index=False)}')


def yes(values): return [bool(o) for o in values]


def chosen(runs, by, over):  # the rows of the value of `over` that has the best mean validation accuracy in each group
    means = runs.groupby([*by, over], sort=False).valid.mean().reset_index()
    best = means.loc[means.groupby(by, sort=False).valid.idxmax(), [*by, over]]
    return runs.merge(best)


def one_step():
    runs = read('one_step')
    runs = runs.assign(worse=yes(runs.after_1 > runs.before), learned=yes(runs.after_10 < .8*runs.before))
    table = summarize(runs, ['start', 'bs', 'lr'], 'worse').rename(columns=dict(mean='share of runs worse after one step'))
    medians = runs.groupby(['start', 'bs', 'lr'], sort=False)[['before', 'after_1', 'after_10']].median().reset_index()
    show('share of runs whose loss is higher after one step; medians of the loss; share a fifth lower after ten',
         table.merge(medians).merge(runs.groupby(['start', 'bs', 'lr'], sort=False).learned.mean().reset_index()), 3)


def schedule():
    runs = read('schedule').astype(dict(collapsed=bool))
    cell = ['bs', 'lr', 'schedule']
    whole = runs[~runs.groupby(cell).collapsed.transform('any')]
    show('share collapsed', summarize(runs, cell, 'collapsed'), 2)
    show('share collapsed at rates of .06 and .1', summarize(runs[runs.lr >= .06], 'schedule', 'collapsed'), 2)
    show('test accuracy of the runs that did not collapse', summarize(runs[~runs.collapsed], cell, 'test'))
    for other in ('no warm-up', 'no decay', 'no momentum cycle', 'constant'):
        show(f'1cycle minus {other}, test accuracy, where none collapsed', paired(whole, 'test', 'schedule', '1cycle', other, ['bs', 'lr']))
    show('each schedule at its best rate', summarize(chosen(runs, ['bs', 'schedule'], 'lr'), cell, 'test'))


def batch_size():
    runs = read('batch_size').astype(dict(collapsed=bool))
    cell = ['steps', 'bs', 'schedule']
    show('at the rate chosen on the validation digits: test accuracy', summarize(chosen(runs, cell, 'lr'), [*cell, 'lr'], 'test'))
    show('all: test accuracy', summarize(runs, [*cell, 'lr'], 'test'))
    show('share collapsed', summarize(runs, [*cell, 'lr'], 'collapsed'), 2)
    best = chosen(runs, cell, 'lr')
    show('117 updates: 512 digits minus 64', paired(best[best.steps == 117], 'test', 'bs', 512, 64, 'schedule'))
    show('60,000 digits: 512 digits per batch minus 64', paired(best[best.bs*best.steps > 59_000], 'test', 'bs', 512, 64, 'schedule'))
    show('1cycle minus constant', paired(best, 'test', 'schedule', '1cycle', 'constant', ['steps', 'bs']))


def valleys():
    runs = read('valleys')
    runs = runs.assign(worse=yes(runs['after_0.06'] > runs.loss), moved_at_06=.06*runs.moved)
    for value in ('sharpness', 'loss', 'after_0.03', 'after_0.06', 'after_0.1', 'moved_at_06', 'worse'): show(value, summarize(runs, ['way', 'update'], value), 3)
    show('smallest and largest', runs.groupby('way', sort=False)[['loss', 'sharpness', 'after_0.03', 'after_0.06', 'after_0.1']].agg(['min', 'max']).reset_index(), 2)


def generalization():
    runs = read('generalization')
    runs = runs.assign(gap=runs.valid_loss-runs.train_loss, gap_accuracy=runs.train-runs.valid)
    for value in ('train_loss', 'valid_loss', 'gap', 'train', 'valid', 'test', 'gap_accuracy'):
        show(value, summarize(runs, ['epochs', 'norm'], value))
        show(f'{value}: batch norm minus none', paired(runs, value, 'norm', 'batch norm', 'none', 'epochs'))


def batchnorm_seeds():
    runs = read('batchnorm_seeds').query('digits == 60000')
    show('accuracy', summarize(runs, ['rounds', 'norm'], 'accuracy'))
    for other in ('none', 'Conv-BN-ReLU'): show(f'Conv-ReLU-BN minus {other}', paired(runs, 'accuracy', 'norm', 'Conv-ReLU-BN', other, 'rounds'))


def batchnorm_why():
    runs = read('batchnorm_why').astype(dict(value=float))
    for what in ('variation', 'change', 'loss', 'test'):
        some = runs[(runs.experiment == 'smooth') & (runs.what == what)]
        show(f'smooth: {what}', summarize(some, 'network', 'value'))
        show(f'smooth: {what}, batch norm minus none', paired(some, 'value', 'network', 'batch norm', 'none'))
    some = runs[(runs.experiment == 'noise') & (runs.what == 'valid accuracy')]
    show('noise: accuracy on other digits', summarize(some, 'network', 'value'))
    for a, b in (('groups of 256', 'none'), ('groups of 16', 'groups of 256'), ('groups of 64', 'groups of 256')):
        show(f'noise: {a} minus {b}', paired(some, 'value', 'network', a, b))


def collapse():
    runs = read('collapse')
    show('share collapsed', summarize(runs.assign(collapsed=yes(runs.accuracy < .5)), ['bs', 'lr', 'one_cycle'], 'collapsed'), 2)


def steady_inputs():
    runs = read('steady_inputs')
    for value in ('moved', 'moved_relative', 'train_loss_40', 'train_loss', 'valid_loss', 'valid'): show(value, summarize(runs, ['lr', 'norm'], value))
    for other in ('none', 'batch norm'):
        show(f'loss on validation digits: noise minus {other}', paired(runs, 'valid_loss', 'norm', 'batch norm, then noise', other, 'lr'))
    show('loss on validation digits: batch norm minus none', paired(runs, 'valid_loss', 'norm', 'batch norm', 'none', 'lr'))


def first_layer():
    runs = chosen(read('first_layer'), ['net', 'digits_are'], 'lr')
    for value in ('train', 'test', 'test_moved'): show(value, summarize(runs, ['digits_are', 'net', 'lr'], value))
    show('test: convolutional minus fully connected', paired(runs, 'test', 'net', 'convolutional', 'fully connected', 'digits_are'))
    show('trained on plain digits, tested on moved ones: convolutional minus fully connected', paired(runs[runs.digits_are == 'plain'], 'test_moved', 'net', 'convolutional', 'fully connected', 'digits_are'))
    for net in runs.net.unique():
        show(f'{net}, test: plain minus shuffled', paired(runs[runs.net == net], 'test', 'digits_are', 'plain', 'shuffled'))


def collapse_steps():
    runs = read('collapse_steps')
    columns = ['schedule', 'seed', 'step', 'loss', 'after', 'std_2', 'std_4', 'below_2', 'below_4', 'pass_2', 'pass_4', 'valid']
    show('some steps', runs.loc[runs.step.isin([-1, 0, 1, 2, 5, 10, 40, 116]), columns], 3)


def color_digits():
    runs = read('color_digits')
    show('accuracy', summarize(runs, 'digits', 'accuracy'))
    for other in runs.digits.unique():
        if other != 'color': show(f'{other} minus color', paired(runs, 'accuracy', 'digits', other, 'color'))


def effective_field():
    runs = read('effective_field')
    for look in (0, 100, 400, 1600):
        for value in ('width', 'side'): show(f'{value} after {look} steps', summarize(runs, [], f'{value}_{look}'), 2)
    show('width: after minus before', summarize(runs.assign(change=runs.width_1600-runs.width_0), [], 'change'), 2)


def norm_layers():
    runs = read('norm_layers').astype(dict(collapsed=bool))
    plain = runs[(runs['group'] == runs.bs) & ~runs['last']]
    best = chosen(plain, ['bs', 'norm'], 'lr')
    show('at the rate chosen on the validation digits: test accuracy', summarize(best, ['bs', 'norm', 'lr'], 'test'))
    for norm in plain.norm.unique():
        if norm != 'batch': show(f'{norm} minus batch', paired(best, 'test', 'norm', norm, 'batch', 'bs'))
    show('all: test accuracy', summarize(plain, ['bs', 'lr', 'norm'], 'test'))
    show('share collapsed', summarize(plain, ['bs', 'lr', 'norm'], 'collapsed'), 2)
    high = plain[plain.lr == plain.groupby('bs').lr.transform('max')]
    show('share collapsed at the highest rate of each batch size', summarize(high, 'norm', 'collapsed'), 2)
    few = runs[(runs.norm == 'batch') & (runs.bs == 64) & (runs.lr == .01)]
    show('batch norm with the statistics of few digits: test accuracy', summarize(few, ['last', 'group'], 'test'))
    batch = best[best.norm == 'batch']
    for other in ('own', 'exact'):
        show(f'batch norm, validation accuracy: running averages minus {other}', summarize(batch.assign(d=batch.valid-batch[other]), 'bs', 'd'))
    for value in ('faint', 'gray'): show(f'batches of 64, {value} digits', summarize(best[best.bs == 64], 'norm', value))


def classic_features():
    runs = read('classic_features')
    show('test accuracy', summarize(runs, ['learned_from', 'features'], 'test'))
    show('seconds per 1,000 digits', summarize(runs, 'features', 'cost'), 3)
    for a, b in (('edge kernels', 'edge kernels, no ReLU'), ('edge kernels', '4 random kernels'), ('Gabor energy', 'random bank'), ('8 learned kernels', '8 random kernels'),
                 ('Gabor energy', 'HOG'), ('Gabor energy', 'CNN'), ('CNN', 'HOG')):
        show(f'{a} minus {b}', paired(runs, 'test', 'features', a, b, 'learned_from'))


def norm_order():
    runs = read('norm_order')
    def effect(switch, first, second, rows):
        for value in ('test', 'train_loss', 'test_loss'):
            show(f'{value}, {switch}: {first} minus {second}', paired(rows.groupby(['seed', switch], as_index=False)[value].mean(), value, switch, first, second))
    for value in ('test', 'train_loss', 'test_loss', 'dead'): show(value, summarize(runs, ['order', 'bias', 'last'], value))
    effect('order', 'after', 'before', runs[runs.bias])
    effect('last', True, False, runs[runs.bias])
    for order in ('after', 'before'): effect('bias', True, False, runs[runs['last'] & (runs.order == order)])


if __name__ == '__main__':
    for name in sys.argv[1:] or ['one_step', 'valleys', 'schedule', 'batch_size', 'generalization', 'steady_inputs', 'first_layer', 'collapse_steps',
                                 'color_digits', 'effective_field', 'norm_layers', 'classic_features', 'norm_order']:
        print(f'\n# {name}')
        globals()[name]()
