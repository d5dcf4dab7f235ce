"Sources of MNIST and what can go wrong with each; the cache; and what fastai's DataLoaders can do."
import os
import shutil
import tarfile
import time

import numpy as np
import pytest
import torch

from convlab import data
from convlab.all import (CrossEntropyLossFlat, Image, Interpretation, Learner, PILImageBW, accuracy,
                         fastai_cfg, first, get_dls, load_learner, load_mnist, mnist_path, set_seed, simple_cnn)


@pytest.fixture(scope='module')
def embedded():
    "The 3s and 7s among the embedded digits: 800 to train on, 200 to validate."
    return mnist_path(sample=True, source='embedded')


@pytest.fixture
def sample(embedded, tmp_path):
    "A copy of the embedded 3s and 7s, to be damaged."
    path = tmp_path/'mine'/'mnist_sample'
    shutil.copytree(embedded, path, ignore=shutil.ignore_patterns('arrays.npz'))
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    "An empty place for the course's own folder and for fastai's, and no CONVLAB_DATA."
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path/'fastai'))
    monkeypatch.delenv('CONVLAB_DATA', raising=False)
    fastai_cfg.cache_clear()
    yield tmp_path
    fastai_cfg.cache_clear()


def archive(sample):
    "The folder `sample` as a .tgz beside it, the folder itself removed."
    arch = sample.with_suffix('.tgz')
    with tarfile.open(arch, 'w:gz') as t: t.add(sample, 'mnist_sample')
    shutil.rmtree(sample)
    return arch


def leftovers(home): return [p for p in (home/'cache').rglob('*') if p.is_dir() and p.name.startswith('mnist')]


# Sources

def test_folder(home, sample, monkeypatch, capsys):
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    assert mnist_path(sample=True) == sample
    assert capsys.readouterr().out == 'MNIST 3s and 7s: 800 digits to train on, 200 to validate, from CONVLAB_DATA.\n'


def test_archive_is_unpacked_once(home, sample, monkeypatch):
    archive(sample)
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    path = mnist_path(sample=True)
    assert len(list(path.rglob('*.png'))) == 1000
    marker = path/'marker'
    marker.touch()
    assert mnist_path(sample=True) == path and marker.exists()
    assert not sample.exists(), "nothing is written into the reader's folder"


@pytest.mark.parametrize('where,message', [('nowhere', 'not a folder'), ('.', 'holds neither mnist_sample nor mnist_sample.tgz')])
def test_folder_without_data(home, monkeypatch, where, message):
    monkeypatch.setenv('CONVLAB_DATA', str(home/where))
    with pytest.raises(FileNotFoundError, match=message): mnist_path(sample=True)


def test_incomplete_folder(home, sample, monkeypatch):
    next(sample.glob('train/3/*.png')).unlink()
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    with pytest.raises(ValueError, match='incomplete: train has 799 of 12,396'): mnist_path(sample=True)


@pytest.mark.parametrize('keep', [0.1, 0.5, 0.99])
def test_truncated_archive(home, sample, monkeypatch, keep):
    arch = archive(sample)
    whole = arch.read_bytes()
    arch.write_bytes(whole[:int(len(whole)*keep)])
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    with pytest.raises(ValueError, match='damaged or cut short'): mnist_path(sample=True)
    assert not leftovers(home)
    arch.write_bytes(whole)
    assert mnist_path(sample=True)


def test_not_an_archive(home, sample, monkeypatch):
    archive(sample).write_bytes(b'<html>404</html>')
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    with pytest.raises(ValueError, match='damaged or cut short'): mnist_path(sample=True)


def test_incomplete_archive(home, sample, monkeypatch):
    next(sample.glob('valid/7/*.png')).unlink()
    archive(sample)
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    with pytest.raises(ValueError, match='valid has 199 of 2,038'): mnist_path(sample=True)
    assert not leftovers(home)


def test_interrupted_unpacking(home, sample, monkeypatch):
    archive(sample)
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    def half(self, path, **kwargs):
        for member in self.getmembers()[:300]: self.extract(member, path, filter='data')
        raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(tarfile.TarFile, 'extractall', half)
        with pytest.raises(KeyboardInterrupt): mnist_path(sample=True)
    assert not leftovers(home)
    assert mnist_path(sample=True)


def test_unwritable_home(home, monkeypatch):
    (home/'file').touch() # a folder cannot be made below a file, whoever asks
    monkeypatch.setenv('XDG_CACHE_HOME', str(home/'file'))
    with pytest.raises(OSError, match='cannot keep the digits in .* XDG_CACHE_HOME'): mnist_path(sample=True, source='embedded')


def test_fastai_folder(home, sample, capsys):
    path = home/'fastai'/'data'/'mnist_sample'
    shutil.copytree(sample, path)
    assert mnist_path(sample=True) == path
    assert "fastai's data folder" in capsys.readouterr().out


def test_half_written_fastai_folder_is_no_data(home, sample, monkeypatch):
    path = home/'fastai'/'data'/'mnist_sample'
    shutil.copytree(sample/'train', path/'train')
    monkeypatch.setattr(data, 'urlopen', lambda *a, **k: 1/0)
    assert 'embedded' in mnist_path(sample=True).parts


def test_download_that_stalls(home, monkeypatch):
    "A network in name only: the digits are there within ten seconds."
    monkeypatch.setattr(data, 'urlopen', lambda *a, **k: time.sleep(60))
    start = time.monotonic()
    path = mnist_path()
    assert time.monotonic()-start < 10
    assert len(list(path.rglob('*.png'))) == 5000


def test_download(home, sample, monkeypatch, capsys):
    monkeypatch.setattr(data, 'urlopen', lambda *a, **k: True)
    monkeypatch.setattr(data, 'untar_data', lambda url, **k: sample)
    assert mnist_path(sample=True) == sample
    assert 'from fast.ai' in capsys.readouterr().out


def test_unknown_source():
    with pytest.raises(ValueError, match="source must be one of .*'auto'.* got 'web'"): mnist_path(source='web')


def test_source_without_data(home):
    with pytest.raises(FileNotFoundError, match="source 'fastai' does not have mnist_png"): mnist_path(source='fastai')


def test_embedded_digits_are_the_ones_their_names_say(full_data):
    "Each of the 5,000 equals the file of the same name in fast.ai's archive."
    full, small = mnist_path(source='folder'), mnist_path(source='embedded')
    files = data.digit_files(small)
    assert len(files) == 5000
    for f in files:
        same = full/'training'/f.parent.name/f.name
        assert np.array_equal(np.asarray(Image.open(f)), np.asarray(Image.open(same)))


# Arrays

def test_arrays_are_in_order(embedded):
    x, y, _, yv = load_mnist(embedded)
    places = [int(f.stem) for f in data.digit_files(embedded/'train')]
    assert places == sorted(places)
    assert x.dtype == torch.uint8 and y.dtype == torch.int64
    assert y.bincount()[[3, 7]].tolist() == [400, 400] and yv.bincount()[[3, 7]].tolist() == [100, 100]


@pytest.mark.parametrize('damage', [lambda b: b[:1000], lambda b: b'', lambda b: b'junk', lambda b: b[:-5000] + bytes(5000),
                                    lambda b: b[:200_000] + bytes([b[200_000] ^ 1]) + b[200_001:]])
def test_damaged_arrays_are_made_again(sample, damage):
    want = load_mnist(sample)
    cache = sample/'arrays.npz'
    cache.write_bytes(damage(cache.read_bytes()))
    for a, b in zip(load_mnist(sample), want): assert torch.equal(a, b)
    assert len(cache.read_bytes()) > 700_000


def test_changed_file_is_seen(sample):
    load_mnist(sample)
    f = data.digit_files(sample/'train')[5]
    Image.fromarray(np.full((28, 28), 9, np.uint8)).save(f)
    assert (load_mnist(sample)[0][5] == 9).all()


def test_removed_file_is_seen(sample):
    load_mnist(sample)
    data.digit_files(sample/'train')[0].unlink()
    assert len(load_mnist(sample)[0]) == 799


def test_cache_that_cannot_be_written(sample, monkeypatch, capsys):
    (sample/'arrays.npz').mkdir() # nothing can be renamed to it
    assert len(load_mnist(sample)[0]) == 800
    assert 'decoded again next time' in capsys.readouterr().out
    assert not list(sample.glob('*.tmp'))


def test_load_mnist_elsewhere(tmp_path):
    with pytest.raises(FileNotFoundError, match='path must hold'): load_mnist(tmp_path)


# DataLoaders

@pytest.fixture(scope='module')
def learn(embedded):
    set_seed(0)
    dls = get_dls(path=embedded)
    learn = Learner(dls, simple_cnn((1, 4, 8, 16, 32, 2), ks0=3), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 0.01)
    return learn


def quiet(learn):
    learn.remove_cbs([cb for cb in learn.cbs if cb.name == 'progress'])
    return learn


def test_both_loaders_deliver_the_same(embedded):
    arrays, files = (get_dls(64, embedded, in_memory=m, normalize=False) for m in (True, False))
    for (xa, ya), (xf, yf) in zip(arrays.valid, files.valid):
        assert torch.equal(xa, xf) and torch.equal(ya, yf) and type(xa) is type(xf) and type(ya) is type(yf)
    assert arrays.vocab == files.vocab == ['3', '7']


def test_batches(embedded):
    dls = get_dls(64, embedded)
    assert [len(y) for _, y in dls.train] == [64]*12 and sum(len(y) for _, y in dls.valid) == 200
    xb, yb = dls.one_batch()
    assert xb.shape == (64, 1, 28, 28) and xb.dtype == torch.float32 and yb.dtype == torch.int64
    assert not torch.equal(first(dls.train)[0], first(dls.train)[0]), 'training batches are shuffled'
    assert torch.equal(first(dls.valid)[0], first(dls.valid)[0])


def test_batch_larger_than_data(embedded):
    assert len(get_dls(5000, embedded).train) == 0
    with pytest.raises(ValueError, match='bs must be a whole number of at least 1; got 0'): get_dls(0, embedded)
    with pytest.raises(TypeError, match='bs must be a whole number of at least 1; got 6.4'): get_dls(6.4, embedded)


def test_predictions_agree_with_validation(learn):
    preds, targs = quiet(learn).get_preds()
    assert preds.shape == (200, 2) and targs.bincount().tolist() == [100, 100]
    acc = (preds.argmax(1) == targs).float().mean()
    assert learn.validate()[1] == pytest.approx(acc.item())
    assert acc > 0.9
    assert len(learn.get_preds(ds_idx=0)[0]) == 800


def test_new_images(learn, embedded):
    files = data.digit_files(embedded/'valid')[:3]
    want = quiet(learn).get_preds()[0][:3]
    for items in (files, [PILImageBW.create(f) for f in files], [np.asarray(Image.open(f)) for f in files]):
        preds, _ = learn.get_preds(dl=learn.dls.test_dl(items))
        assert torch.allclose(preds, want, atol=1e-5)
    assert learn.predict(files[0])[0] == files[0].parent.name
    xb, yb = learn.dls.test_dl(files, with_labels=True).one_batch()
    assert [learn.dls.vocab[i] for i in yb] == [f.parent.name for f in files]


def test_interpretation(learn):
    interp = Interpretation.from_learner(quiet(learn))
    losses, idxs = interp.top_losses(5)
    assert (losses.diff() <= 0).all()
    interp.plot_top_losses(4)
    learn.show_results()


def test_export(learn, tmp_path, embedded):
    learn.export(tmp_path/'learn.pkl')
    assert (tmp_path/'learn.pkl').stat().st_size < 200_000, 'the digits are not exported with it'
    back = load_learner(tmp_path/'learn.pkl')
    f = data.digit_files(embedded/'valid')[0]
    assert back.predict(f)[0] == learn.predict(f)[0]


def test_show_batch_undoes_normalization(embedded):
    dls = get_dls(64, embedded)
    xb, yb = first(dls.valid)
    shown = dls.valid.decode_batch((xb, yb), max_n=3)
    raw = first(get_dls(64, embedded, normalize=False).valid)[0]
    for (im, label), want, target in zip(shown, raw, yb):
        assert np.abs(np.asarray(im) - 255*np.asarray(want)).max() <= 1.01 # fastai cuts off decimals
        assert label == dls.vocab[target]
    dls.show_batch(max_n=9)
