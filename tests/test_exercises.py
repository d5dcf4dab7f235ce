"Exercises: each is tried on right and wrong answers; the reader's records survive whatever happens to them."
import ast
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from conftest import root

from convlab.course import exercises
from convlab.course.exercises import call, check, exercise, expect, hint, measured, predict
from convlab.course.progress import progress
from convlab.course.records import records, records_path, update

solutions = sorted((root/'nbs'/'solutions').glob('*.ipynb'))
lessons = sorted((root/'nbs').glob('[0-9][0-9]_*.ipynb'))


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    "Records of this test's own, and exercises of its own on top of the course's."
    monkeypatch.setenv('CONVLAB_PROGRESS', str(tmp_path/'mine'/'progress.json'))
    monkeypatch.setattr(exercises, '_exercises', {e.name: e for e in exercises.exercises()})

    @exercise('double', lesson='00_none', title='twice a number', hints=('Add.', 'Multiply.'))
    def _(answer): expect(call(answer, 3), 6)


def sources(path, kind='code'):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [''.join(c['source']) for c in cells if c['cell_type'] == kind]


def calls(source):
    "Calls of plain names in `source`, IPython's own lines left out, as `(name, first argument, number of arguments)`."
    tree = ast.parse(re.sub(r'^(\s*)[!%].*$', r'\1pass', source, flags=re.M))
    for n in ast.walk(tree):
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.args and isinstance(n.args[0], ast.Constant):
            yield n.func.id, n.args[0].value, len(n.args)


# Every exercise

@pytest.mark.parametrize('path', solutions, ids=lambda p: p.stem)
def test_each_is_tried_on_three_right_and_three_wrong_answers(path):
    made = [c for s in sources(path) for c in calls(s)]
    names = {name for f, name, _ in made if f == 'exercise'}
    assert names
    right = {name: sum(n-1 for f, other, n in made if (f, other) == ('right', name)) for name in names}
    wrong = {name: sum((f, other) == ('wrong', name) for f, other, _ in made) for name in names}
    assert {n: k for n, k in right.items() if k < 3} == {}, 'right answers'
    assert {n: k for n, k in wrong.items() if k < 3} == {}, 'wrong answers'


def test_lessons_and_solutions_name_the_same_exercises():
    of = {}
    for path in solutions:
        for s in sources(path):
            for f, name, _ in calls(s):
                if f == 'exercise': of[name] = path.stem
    for path in lessons:
        asked = {name for s in sources(path) for f, name, _ in calls(s) if f in ('check', 'hint')}
        assert {n for n in asked if of.get(n) != path.stem} == set(), f'{path.stem} asks for exercises its solutions do not have'
        if asked: assert {n for n, stem in of.items() if stem == path.stem} - asked == set(), f'{path.stem} does not ask for these'


def test_exercises_know_their_lessons():
    stems = {p.stem for p in lessons}
    for ex in exercises.exercises():
        if ex.name == 'double': continue
        assert ex.lesson in stems and ex.title and 1 <= len(ex.hints) <= 2, ex.name


def test_stubs_are_left_to_the_reader():
    for path in lessons:
        for s in sources(path):
            if any(f == 'check' for f, *_ in calls(s)): assert s.startswith('#| eval: false'), (path.stem, s)


# What a reader sees

def test_right_wrong_and_not_answered(capsys):
    check('double', lambda n: n+n)
    assert capsys.readouterr().out.startswith('✓ double: right.')
    check('double', lambda n: n+1)
    out = capsys.readouterr().out
    assert out.startswith('✗ double: not yet.') and 'expected  6\n' in out and 'came      4\n' in out and "hint('double')" in out
    for stub in (None, ..., lambda n: None, lambda n: ...):
        check('double', stub)
        assert capsys.readouterr().out.startswith('· double: not yet tried.')
    entry = records()['exercises']['double']
    assert entry['tried'] == 2 and entry['right'], 'once right, right for good; a stub is no try'


@pytest.mark.parametrize('answer', [3, 'text', lambda: 6, lambda n: 1/0, lambda n: {'a': object()}, lambda n: [[1], [2, 3]], torch.nn.Linear,
                                    lambda n: torch.empty(0), object()])
def test_no_answer_makes_a_check_raise(answer, capsys):
    check('double', answer)
    assert '✗ double' in capsys.readouterr().out


def test_dtype_and_form_do_not_matter(capsys):
    for six in (6, 6., True*6, torch.tensor(6), torch.tensor([6.], requires_grad=True), torch.tensor(6, dtype=torch.bfloat16), [6]):
        check('double', lambda n, six=six: six)
        assert '✓' in capsys.readouterr().out, six


def test_a_message_fits_a_screen(capsys):
    @exercise('large', lesson='00_none', title='many numbers')
    def _(answer): expect(call(answer, on='nothing'), torch.zeros(300, 300), on='nothing')
    check('large', lambda: torch.eye(300))
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 12 and max(map(len, out.splitlines())) < 120 and '300 of 90,000 numbers differ' in out


def test_hints_end_with_the_solution(capsys):
    for _ in range(3): hint('double')
    assert capsys.readouterr().out.splitlines() == ['Hint 1 of 2: Add.', 'Hint 2 of 2: Multiply.', 'No more hints. There is a solution: solutions/00_none.ipynb.']


def test_an_unknown_name_is_told_its_neighbours():
    with pytest.raises(ValueError, match="no exercise 'dubble'; near it: double"): check('dubble', 3)


def test_a_check_leaves_random_numbers_alone():
    torch.manual_seed(3)
    want = torch.rand(2).tolist()
    torch.manual_seed(3)
    check('double', lambda n: torch.rand(2))
    assert torch.rand(2).tolist() == want


def test_a_guess_is_kept(capsys):
    predict('share', None)
    measured('share', 20, '%')
    predict('share', 10)
    measured('share', 20, '%')
    out = capsys.readouterr().out.splitlines()
    assert out[1] == 'share: 20%. (You had not guessed.)' and out[3] == 'share: 20%; you had guessed 10%: 2 times too little.'
    assert records()['predictions']['share']['measured'] == 20


# The file

def test_two_processes_lose_nothing():
    code = """
from convlab.course.records import update
import sys
for i in range(40):
    update('exercises', 'shared', lambda e: {'tried': e.get('tried', 0)+1})
    update('questions', f'{sys.argv[1]}-{i}', lambda e: {'tried': 1})"""
    both = [subprocess.Popen([sys.executable, '-c', code, who], env={**os.environ, 'PYTHONPATH': str(root)}) for who in 'ab']
    assert [p.wait(120) for p in both] == [0, 0]
    done = records()
    assert done['exercises']['shared']['tried'] == 80 and len(done['questions']) == 80
    assert not [p for p in records_path().parent.iterdir() if p.suffix == '.part']


@pytest.mark.parametrize('text', ['', '{"exercises": {"dou', '[]', '{"exercises": []}', '{"exercises": {"double": 1}}', '{"questions": {"1": {"last": "x"}}}',
                                  '\x00\x01'])
def test_a_damaged_file_is_put_aside(text, capsys):
    records_path().parent.mkdir()
    records_path().write_text(text)
    progress()
    check('double', lambda n: 2*n)
    assert 'damaged' in capsys.readouterr().out
    assert records()['exercises']['double']['tried'] == 1
    aside, = records_path().parent.glob('*damaged*')
    assert aside.read_text() == text


def test_a_file_of_a_later_version_is_kept():
    records_path().parent.mkdir()
    records_path().write_text('{"exercises": {"double": {"right": 1, "new": [2]}}, "more": 3}')
    update('exercises', 'double', lambda e: e | {'tried': 1})
    assert json.loads(records_path().read_text()) == {'exercises': {'double': {'right': 1, 'new': [2], 'tried': 1}}, 'more': 3}


def test_where_nothing_can_be_written_the_kernel_remembers(tmp_path, monkeypatch, capsys):
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('CONVLAB_PROGRESS', str(tmp_path/'file'/'progress.json'))
    for _ in range(2): check('double', lambda n: 2*n)
    assert capsys.readouterr().out.count('cannot be kept') == 1
    assert records()['exercises']['double']['tried'] == 2


def test_progress_shows_what_is_done(capsys):
    check('double', lambda n: 2*n)
    capsys.readouterr()
    progress()
    out = capsys.readouterr().out
    assert '00_none, exercises: 1 of 1' in out and '✓ double' in out and '· any_kernel' in out and 'CONVLAB_PROGRESS' in out
