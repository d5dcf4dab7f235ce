"The questions and the glossary: complete, right, taught where they say; and links that lead somewhere."
import json
import re
import subprocess
import sys
from urllib.parse import unquote

import pytest
from conftest import root

sys.path.insert(0, str(root/'tools'))
import glossary  # noqa: E402

from convlab.course import quiz  # noqa: E402
from convlab.course.progress import progress  # noqa: E402
from convlab.course.quiz import asked, judge, page, questions, static  # noqa: E402

qs = questions()
put = [asked(q) for q in qs]  # as they are put the first time
versions = [asked(q, tries) for q in qs for tries in range(len(next(iter(q.get('numbers', {'': [0]}).values()))))]
name = lambda q: str(q['n'])  # noqa: E731
terms = glossary.entries()
nbs = root/'nbs'
kinds = {'choices', 'value', 'accept'}


def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']


def anchors(path):
    "The fragments of links to the headings of a notebook."
    if path.suffix == '.md': text = path.read_text(encoding='utf-8')
    else: text = '\n'.join(re.sub(r'```.*?```', '', ''.join(c['source']), flags=re.S) for c in cells(path) if c['cell_type'] == 'markdown')
    return {unquote(quiz.anchor(h.strip())) for h in re.findall(r'^#{1,6} +(.*)$', text, re.M)}


# Questions

def test_all_are_there():
    "The chapter's forty, and five for each of the lessons that go beyond it."
    assert [q['n'] for q in qs] == list(range(1, 56))
    assert [q['lesson'][:2] for q in qs[40:]] == ['11']*5 + ['12']*5 + ['13']*5
    for q in qs:
        assert len(kinds & {*q}) == 1 and q['question'].strip() and q['section'], q['n']
        assert 2 <= len(re.findall(r'[.!?:)](?=\s|$)', q['answer'])) <= 9 and 80 < len(q['answer']) < 760, q['n']


def test_every_answer_is_told_why():
    for q in qs:
        if 'choices' in q:
            assert len({c['text'] for c in q['choices']}) == len(q['choices']) == 4
            assert all(len(c['feedback']) > 25 for c in q['choices']) and q['choices'][0]['feedback'].startswith('Yes'), q['n']
        else: assert len(q['traps']) >= 2 and all(len(t['feedback']) > 20 for t in q['traps']), q['n']


def test_at_least_eight_ask_for_a_sentence():
    with_points = [q for q in qs if 'points' in q]
    assert len(with_points) >= 8 and all(2 <= len(q['points']) <= 3 and 'choices' in q for q in with_points)


def test_neither_its_length_nor_its_place_gives_the_right_choice_away():
    choices = [q['choices'] for q in qs if 'choices' in q]
    ranks = [sum(len(c['text']) > len(some[0]['text']) for c in some[1:]) for some in choices]  # 0: the longest
    for rank in range(4): assert .15 < ranks.count(rank)/len(ranks) < .35, (rank, ranks.count(rank))
    for some in choices:
        lengths = [len(c['text']) for c in some]
        assert max(lengths) <= 2*min(lengths), some[0]['text']
    places = [[c['right'] for c in asked(q, tries)['choices']].index(True) for q in qs if 'choices' in q for tries in range(4)]
    for place in range(4): assert .15 < places.count(place)/len(places) < .35, place


def test_each_try_is_put_in_another_way():
    for q in qs:
        if 'choices' in q: assert len({tuple(c['text'] for c in asked(q, tries)['choices']) for tries in range(5)}) > 1, q['n']
        if 'numbers' in q: assert asked(q, 0)['value'] != asked(q, 1)['value'] or q['value'] == '0', q['n']
        assert asked(q, 3) == asked(q, 3)


@pytest.mark.parametrize('q', versions, ids=name)
def test_it_is_judged_as_it_says(q):
    if 'choices' in q:
        for letter, c in zip('abcd', q['choices']): assert judge(q, letter) == (c['right'], c['feedback'])
    else:
        for given in [str(q['value'])] if 'value' in q else q['accept']: assert judge(q, given)[0] is True, given
        for t in q['traps']: assert judge(q, str(t['given'])) == (False, t['feedback']), t
    for nothing in ('', '  ', '?'): assert judge(q, nothing)[0] is None
    for words in (True, False) if 'choices' in q else (False,):
        text = static(q, words)
        assert text.count('<details>') == text.count('</details>') == 1 + (0 if words else 4 if 'choices' in q else 1 + len(q['traps']))
        assert '{' not in text.replace('<code>', '') or 'numbers' not in q


@pytest.mark.parametrize('q', [q for q in versions if 'value' in q], ids=name)
def test_a_number_may_be_written_in_many_ways_but_not_guessed(q):
    n, feedback = q['value'], {t['given']: t['feedback'] for t in q['traps']}
    thing = next(w for w in re.findall('[a-z]+', q['question'].lower()) if len(w) > 4)
    for text in (f'{n:,}', f' {n}. ', f'{n:,}'.replace(',', ' '), f'{n}.0', f'= {n}', f'{n} {thing}', f'+{n}', f'{2*n}/2', f'{n:_}'):
        assert judge(q, text)[0] is True, text
    for text in (f'not {n}', f'{n}k', f'{n}%', f'{n} %', f'{n} or {n+1}', f'{n} million', f'{n}\u00a0apples', f'{n}{n}x', '1/0', 'some', '1.2.3'):
        right, said = judge(q, text)
        assert right is None and 'Type one number' in said, text
    for k in {0, 1, 5, 7, 9, 12, 14, 16, 19, 20, 27, 30, 49, 81, 99}:
        said = judge(q, words(k))
        assert said == judge(q, str(k)) and said[0] is (k == n), (k, said)
        if k in feedback: assert said[1] == feedback[k]
    for wrong in (n+1, n-1, n+.5, 10*n+1, -n-1, f'{n}/7' if n else '1/7', f'{n}5'): assert judge(q, str(wrong))[0] is False, wrong


def words(k):
    ones = 'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split()
    tens = 'twenty thirty forty fifty sixty seventy eighty ninety'.split()
    return ones[k] if k < 20 else tens[k//10-2] + (f'-{ones[k%10]}' if k % 10 else '')


@pytest.mark.parametrize('text,right', [('show_batch', True), ('DataLoaders.show_batch', True), ('`dls.show_batch()`', True), ('show batch', True), ("'show_batch'.", True),
                                        ('not show_batch', False), ('show_batches', False), ('dls.one_batch()', False), ('learn.show_results', False), ('...', None)])
def test_a_name_is_the_last_one(text, right): assert judge(qs[21], text)[0] is right


@pytest.mark.parametrize('text', ['not b', 'a or b', 'a, b', '1', 'e', '?'])
def test_a_choice_is_one_letter(text): assert judge(put[0], text)[0] is None


def proofs():
    "The code cells of the questionnaire that compute an answer, by its question."
    found, n = {}, None
    for c in cells(nbs/'10_questionnaire.ipynb'):
        src = ''.join(c['source'])
        if m := re.match(r'### Question (\d+)', src): found[n := int(m[1])] = []
        elif n and c['cell_type'] == 'code': found[n].append(src)
    return found


def test_the_notebook_asks_all_in_order():
    code = [''.join(c['source']) for c in cells(nbs/'10_questionnaire.ipynb') if c['cell_type'] == 'code']
    assert [int(n) for s in code for n in re.findall(r'^ask\((\d+)\)$', s)] == list(range(1, 56))


def test_no_answer_stands_in_view_of_its_question_and_what_can_be_is_computed():
    src = [''.join(c['source']) for c in cells(nbs/'10_questionnaire.ipynb')]
    assert max(k for k, s in enumerate(src) if s.startswith('ask(')) < next(k for k, s in enumerate(src) if s.startswith('## The answers'))
    found = proofs()
    assert list(found) == sorted(found)
    proved = {n for n, code in found.items() if any(re.search(r'\b(assert|test_\w+\()', s) for s in code)}
    assert len(proved) >= 40, sorted(proved)
    for q in qs:
        if 'value' in q: assert q['n'] in proved, f"question {q['n']} has a number that no cell computes"


def test_numbers_in_the_file_are_what_is_computed():
    import torch
    import torch.nn.functional as F
    from torch import nn

    from convlab.arithmetic import arithmetic
    from convlab.convolutions import out_size
    from convlab.kernels import apply_kernel, top_edge
    from convlab.models import n_params, simple_cnn
    from convlab.norms import BatchNorm2d

    def side(k, s):  # pixels that count: where windows leave gaps, these are fewer than the field is wide
        x, w = torch.zeros(1, 1, k + (k-1)*s, requires_grad=True), torch.ones(1, 1, k)
        F.conv1d(F.conv1d(x, w, stride=s), w, stride=s).sum().backward()
        return (x.grad != 0).sum().item()
    def products(k): return F.conv2d(torch.ones(1, 3, k, k), torch.ones(1, 3, k, k)).item()
    def seen(N, c, h):
        x = torch.randn(N, c, h, h, dtype=torch.double, requires_grad=True)
        nn.BatchNorm2d(c).double()(x)[1, 1, 0, 0].backward()
        return (x.grad != 0).sum().item()
    ten = arithmetic(simple_cnn(), (1, 28, 28)).multiplications
    computed = {4: [apply_kernel(torch.zeros(3, 3), 1, 1, top_edge).item()]*3,
                6: [out_size(28, 3, stride=2, padding=1), out_size(32, 5, stride=2, padding=2), out_size(30, 3, stride=3, padding=1)],
                15: [ten[2], ten[4], arithmetic(simple_cnn((1, 4, 8, 16, 32, 2), ks0=3), (1, 28, 28)).multiplications[2]],
                17: [side(3, 2), side(5, 2), side(5, 4)], 18: [side(3, 2)**2], 21: [products(k) for k in (3, 5, 7)],
                38: [n_params(BatchNorm2d(c)) for c in (8, 16, 32)], 42: [2**k for k in (8, 5, 6)],
                46: [seen(4, 6, 3), seen(8, 4, 5), seen(16, 8, 2)], 52: [40, 32, 48]}  # 2² times as many seeds for half the width
    said = {}
    for q in versions:
        if 'value' in q: said.setdefault(q['n'], []).append(q['value'])
    assert said == computed
    assert {t['given'] for t in put[14]['traps']} == {7*7*1168, 14*14*1152, 1152}


def test_the_saved_notebook_needs_no_kernel():
    nb = json.loads((nbs/'10_questionnaire.ipynb').read_text(encoding='utf-8'))
    assert 'widgets' not in nb['metadata']
    for c in nb['cells']:
        for out in c.get('outputs', []): assert 'application/vnd.jupyter.widget-view+json' not in out.get('data', {})
        if ''.join(c['source']).startswith('ask('):
            html = ''.join(c['outputs'][0]['data']['text/html'])
            question = put[int(re.search(r'\d+', ''.join(c['source']))[0])-1]
            assert f'<div class="convlab-place" data-piece="" data-module="quiz.js">{static(question)}' in html, 'run `make notebooks`'


def test_the_page_has_them_all():
    text = page(qs)
    assert text == (nbs/'questions.md').read_text(encoding='utf-8')
    assert all(f"<strong>{q['n']}.</strong>" in text for q in qs)


# Links

def places():
    yield from ((f"question {q['n']}", q) for q in qs)
    yield from ((f"term {t['term']!r}", t) for t in terms)


def test_every_section_that_is_named_exists():
    have = {}
    lost = []
    for name, o in places():
        path = nbs/f"{o['lesson']}.ipynb"
        if path not in have: have[path] = anchors(path) if path.exists() else set()
        if unquote(quiz.anchor(o['heading'])) not in have[path]: lost.append(f"{name}: {o['lesson']} has no heading {o['heading']!r}")
    assert not lost, '\n'.join(lost)


def test_links_to_headings_lead_somewhere():
    lost = []
    for path in [*nbs.glob('*.ipynb'), *(nbs/'solutions').glob('*.ipynb')]:
        text = '\n'.join(''.join(c['source']) for c in cells(path) if c['cell_type'] == 'markdown')
        for target, fragment in re.findall(r'\]\(([\w./]*\.(?:ipynb|md))#([^)]+)\)', text):
            to = path.parent/target
            if not to.exists() or unquote(fragment) not in anchors(to): lost.append(f'{path.name}: {target}#{fragment}')
    assert not lost, '\n'.join(lost)


# Glossary

wanted = '''kernel, filter, channel, feature, feature map, activation, unit, tap, window, stride, padding, dilation, weight tying, receptive field,
effective receptive field, 1cycle, momentum, cyclical momentum, batch norm, gamma, beta, running average, epoch, batch, collapse, dead unit,
Kaiming initialization, Adam, weight decay, FFT, attention, MAC, FLOP, bias, ReLU, callback, hook, learning rate, weight, parameter'''


def test_the_glossary_is_complete():
    names = [n for t in terms for n in (t['term'], *t['aliases'])]
    assert {n.strip() for n in wanted.replace('\n', ' ').split(',')} - {*names} == set()
    assert len(names) == len(set(map(str.lower, names))), 'a name that belongs to two terms'
    for t in terms: assert 20 < len(t['sentence']) < 260 and t['sentence'].endswith(('.', ').')), t['term']
    assert {unquote(quiz.anchor(t['term'])) for t in terms} <= anchors(nbs/'glossary.md')


def test_first_uses_are_linked_and_nothing_else():
    cells = ['# A kernel\n\n> Kernels.\n\nOne `kernel` and $kernel$, [a kernel](x.ipynb), then **kernels** and kernels. A *receptive\nfield* jumps.',
             '```\nstride\n```\n| stride |\nA sub-stride, the stride_2, and Stride; the effective receptive field. A *jump*.']
    out = glossary.linked(cells, terms)
    assert out[0] == cells[0].replace('**kernels**', '**[kernels](glossary.md#kernel)**').replace(
        '*receptive\nfield*', '*[receptive\nfield](glossary.md#receptive-field)*')
    assert out[1] == cells[1].replace('and Stride', 'and [Stride](glossary.md#stride)').replace(
        'the effective receptive field', 'the [effective receptive field](glossary.md#effective-receptive-field)').replace(
        '*jump*', '*[jump](glossary.md#jump)*')
    assert glossary.linked(out, terms) == out


def test_linking_follows_a_text_that_changes():
    out = glossary.linked(['A kernel.', 'A kernel.'], terms)
    moved = glossary.linked(['A stride.', out[0]], terms)
    assert moved == ['A [stride](glossary.md#stride).', 'A [kernel](glossary.md#kernel).']
    assert glossary.linked(['A kernel.', *moved], terms)[2] == 'A kernel.'


def test_lessons_are_linked():
    done = subprocess.run([sys.executable, 'tools/glossary.py', '--check'], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, f'run `python tools/glossary.py`\n{done.stdout}{done.stderr}'


# Review

@pytest.fixture
def desk(monkeypatch, tmp_path):
    monkeypatch.setenv('CONVLAB_PROGRESS', str(tmp_path/'p.json'))
    return quiz.records


def later(monkeypatch, days): monkeypatch.setattr(quiz.time, 'time', lambda now=quiz.time.time(): now+days*86400)


def test_review_asks_what_is_due_and_then_what_is_new(monkeypatch, desk, capsys):
    shown = []
    monkeypatch.setattr(quiz, '_show', lambda q, words: shown.append((q['n'], words)))
    for n, mark in ((7, 3), (9, 1), (8, 3)): quiz._note(qs[n-1], mark)
    quiz._note(qs[8], 3, first=False)  # right at the second try: it was not known
    quiz.review()
    assert {n for n, _ in shown} == {1, 2, 3, 4, 5} and 'None due, 5 new.' in capsys.readouterr().out
    later(monkeypatch, 1.5)
    shown.clear()
    quiz.review()
    assert {n for n, _ in shown} == {9, 1, 2, 3, 4} and '1 due, 4 new.' in capsys.readouterr().out
    later(monkeypatch, 9)
    shown.clear()
    quiz.review(3)
    assert {n for n, _ in shown} == {7, 8, 9} and dict(shown)[7] is True and dict(shown)[9] is False  # known ones in words


def test_when_all_are_known_it_says_when_to_come_back(monkeypatch, desk, capsys):
    for q in qs: quiz._note(q, 3)
    monkeypatch.setattr(quiz, '_show', None)
    quiz.review()
    assert re.fullmatch(r'Nothing is due. The next question comes back on \w+day, \w+ \d+\.\n', capsys.readouterr().out)


def test_what_is_known_waits_longer_each_time_and_what_is_not_comes_back_tomorrow(monkeypatch, desk):
    waits = [0]
    for mark in (3, 3, 3, 1, 2):
        later(monkeypatch, waits[-1])
        entry = quiz._note(qs[0], mark)
        waits.append((quiz._due_at(entry)-quiz.time.time())/86400)
    _, *known, forgotten, partly = waits
    assert 1 <= known[0] < known[1]/2 < known[2]/4 < 90 and forgotten < 7 and partly < known[2]


def test_an_old_record_and_a_damaged_card_are_asked_again(desk):
    from convlab.course.records import update
    update('questions', '1', lambda entry: dict(tried=2, streak=1, last=5))
    update('questions', '2', lambda entry: dict(tried=2, streak=1, last=6, card={'due': 'soon'}))
    late, new = quiz.due(desk()['questions'], quiz.time.time())
    assert {q['n'] for q in late} == {1, 2} and new[0]['n'] == 3
    for n in (1, 2): assert quiz._note(qs[n-1], 3)['card']['due']


CARD = dict(card_id=0, state=2, step=None, stability=2.3, difficulty=2.1, due='2026-01-01T00:00:00+00:00', last_review='2026-01-01T00:00:00+00:00')


@pytest.mark.parametrize('card', [CARD | change for change in (
    {'stability': 'a'}, {'stability': 0}, {'stability': -1}, {'stability': None}, {'difficulty': None}, {'difficulty': -5}, {'state': 99}, {'state': 1}, {'step': 'x'},
    {'due': '2026-01-01T00:00:00'}, {'last_review': '2026-01-01T00:00:00'}, {'last_review': '9999-12-31T00:00:00+00:00'}, {'last_review': 5}, {'due': None})] + ['x', [1], None, {}])
def test_a_card_that_a_hand_has_changed_is_no_obstacle(card, desk, capsys):
    from convlab.course.records import update
    for n in '1', '12': update('questions', n, lambda entry: dict(tried=2.5, streak=1, last=5, card=card))
    quiz.due(desk()['questions'], quiz.time.time())
    for n in (1, 12): quiz._converse(quiz._put(qs[n-1]), False, lambda prompt, given=iter(['a', '3', '']): next(given))
    assert 'It comes back' in capsys.readouterr().out and desk()['questions']['1']['tried'] == 3.5


@pytest.mark.parametrize('n,words,typed,mark', [(15, False, ['57,232', '56,448'], 1), (15, False, ['56448'], 3), (15, False, ['?', ''], 1),
                                                (28, True, ['Nothing is passed on.', 'x', 'p'], 2), (1, True, ['An edge.', 'a'], 3)])
def test_in_a_terminal_a_question_is_text(n, words, typed, mark, desk, capsys):
    given = iter(typed)
    quiz._converse(put[n-1], words, lambda prompt: next(given))
    out = capsys.readouterr().out
    assert f'{n}. ' in out and 'Taught in ' in out and 'It comes back' in out and not re.search('[{<`]|Question', out)
    assert max(map(len, out.splitlines())) <= 88
    entry = desk()['questions'][str(n)]
    assert entry['streak'] == (mark == 3) and entry['tried'] == 1


def test_a_script_is_not_kept_waiting(desk):
    done = subprocess.run([sys.executable, '-c', 'from convlab.course.quiz import review; review(2)'], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and '1. What is a feature' in done.stdout and 'dict' not in done.stdout and not done.stderr


def test_progress_has_a_score_and_says_what_to_read_again(desk, capsys):
    quiz._note(qs[4], 1)
    quiz._note(qs[5], 1, first=False)
    for mark in (1, 3): quiz._note(qs[7], mark)
    progress()
    out = capsys.readouterr().out
    assert '02_convolutions, questions: 1 of 7' in out and '✗ 5 ' in out and '✓ 8 ' in out
    assert 'read again: Padding' in out and 'read again: Convolutions in PyTorch' not in out and '1 of 55 questions' in out
