"""Who minds shuffled pixels, and who minds digits off center: a convolutional network or a fully connected one?

Two networks of some 30,000 weights, five layers of convolutions and one hidden layer of 38 units, learn from 5,000
digits (few on purpose: what a network has to learn anew in every place needs more examples) that are plain, or have
their pixels in one fixed random order, or are moved by up to 6 pixels each way at random (white moves in; of the moved
digits some lose a few pixels of ink). Each is tested on 10,000 digits treated in the same way, and on moved ones. A run
is 400 updates with 64 digits. The learning rate is chosen on the validation digits (`valid`), the result is `test` at
that rate. It takes one core three minutes: `python experiments/first_layer.py` writes `convlab/static/first_layer.csv`."""
from common import digits, evaluate, kaiming, nn, study, torch, train
from convlab.models import n_params, simple_cnn

nets = {'convolutional': simple_cnn,
        'fully connected': lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 38), nn.ReLU(), nn.Linear(38, 10))}
shuffled = torch.randperm(784, generator=torch.Generator().manual_seed(0))


def move(x, most, seed):  # images [N,1,28,28], each moved by its own whole numbers of pixels
    gen = torch.Generator().manual_seed(seed)
    rows, cols = torch.randint(-most, most+1, (2, len(x), 1), generator=gen)
    wide = nn.functional.pad(x, (most,)*4, value=x.min().item())
    place = torch.arange(28)
    return wide[torch.arange(len(x))[:, None, None], 0, (place+most+rows)[:, :, None], (place+most+cols)[:, None]].unsqueeze(1)


def treated(x, how, seed):
    if how == 'shuffled': return x.flatten(1)[:, shuffled].view_as(x)
    return move(x, 6, seed) if how == 'moved' else x


def run(seed, net, digits_are, lr):
    torch.manual_seed(seed)
    model = kaiming(nets[net]())
    x, y = [o[5000*seed:5000*(seed+1)] for o in digits()['train']]
    train(model, treated(x, digits_are, seed), y, 64, 400, lr, seed, '1cycle')
    def accuracy(part, how): return evaluate(model, treated(digits()[part][0], how, 1000+seed), digits()[part][1])[1]
    return dict(weights=n_params(model), train=evaluate(model, treated(x, digits_are, seed), y)[1],
                **{part: accuracy(part, digits_are) for part in ('valid', 'test')}, test_moved=accuracy('test', 'moved'))


if __name__ == '__main__':
    grid = dict(net=list(nets), digits_are=['plain', 'shuffled', 'moved'], lr=[.003, .01])
    runs = study(__file__, run, (grid, 5))
    print(runs.groupby(['net', 'digits_are', 'lr'], sort=False).mean().round(4).to_string())
