"""A network that learned centered digits fails on moved ones: what do stride 2 and the last layer each cost?

Two changes to the ten-digit network, alone and together. *Halving*: each layer halves the grid by stride 2 itself, or
works on every place and then averages 2 by 2 places. *Head*: the last layer has a weight for each of the 2 by 2 places
that are left, `places`; or it gets the mean of each map, `pooled`, so that it cannot know the place. A third head,
`mean`, stops halving at 4 by 4 and takes the mean of the scores of all places. It changes two things at once, and still
knows the place a little: with padding, a corner meets four weights of a kernel, an edge six, and the middle nine.
All learn from 5,000 digits that are plain, or moved by up to 6 pixels each way, and are tested on 10,000 digits treated
in either way. A fully connected network of as many weights beside them, at lower rates too; 400 updates, and 1,600 of
moved digits. The rate is chosen on the validation digits (`valid`), the result is `test` at that rate.
It takes one core an hour: `python experiments/moved_digits.py` writes `convlab/static/moved_digits.csv`."""
from common import digits, evaluate, kaiming, nn, study, torch, train
from first_layer import move, nets

from convlab.models import n_params

channels = 1, 8, 16, 32, 64


class Mean(nn.Module):
    def forward(self, x): return x.mean((2, 3))


def last(head):
    if head == 'places': return nn.Conv2d(64, 10, 3, 2, 1), nn.Flatten()
    if head == 'pooled': return Mean(), nn.Linear(64, 10)
    return nn.Conv2d(64, 10, 3, 1, 1), Mean()


def cnn(halving, head):
    "Four layers that halve 28 to 2, or with the head `mean` to 4, and ten scores."
    layers = []
    for i, (ni, nf) in enumerate(zip(channels, channels[1:])):
        halve, ks = head != 'mean' or i < 3, 3 if i else 5
        stride = 2 if halve and halving == 'stride' else 1
        layers += [nn.Conv2d(ni, nf, ks, stride, ks//2), nn.ReLU()]
        if halve and halving == 'average': layers.append(nn.AvgPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, *last(head))


def built(net): return kaiming(nets[net]() if net == 'fully connected' else cnn(*net.split(', ')))


def run(seed, net, learned_from, steps, lr):
    torch.manual_seed(seed)
    model = built(net)
    x, y = [o[5000*seed:5000*(seed+1)] for o in digits()['train']]
    train(model, move(x, 6, seed) if learned_from == 'moved' else x, y, 64, steps, lr, seed, '1cycle')

    def accuracy(part, how):
        x, y = digits()[part]
        return evaluate(model, move(x, 6, 1000+seed) if how == 'moved' else x, y)[1]
    return dict(weights=n_params(model), valid=accuracy('valid', learned_from), test=accuracy('test', learned_from),
                test_moved=accuracy('test', 'moved'), collapsed=accuracy('test', learned_from) < .5)


if __name__ == '__main__':
    heads, halvings = ('places', 'mean', 'pooled'), ('stride', 'average')
    convolutional = [f'{halving}, {head}' for head in heads for halving in halvings]
    def grid(nets, learned, steps, rates): return dict(net=nets, learned_from=learned, steps=steps, lr=rates)
    every = [grid(convolutional, ['plain', 'moved'], [400], [.003, .01, .03]),
             grid(['fully connected'], ['plain', 'moved'], [400], [.001, .003, .01, .03]),
             grid(['fully connected', 'stride, places'], ['moved'], [1600], [.001, .003, .01, .03])]
    runs = study(__file__, run, *[(g, 5) for g in every])
    groups = runs.groupby(['steps', 'net', 'learned_from', 'lr'], sort=False)
    print(groups[['valid', 'test', 'test_moved']].mean().round(4).to_string())
