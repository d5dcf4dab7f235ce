"The forty questions and the glossary: complete, right, taught where they say; and links that lead somewhere."
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
from convlab.course.quiz import judge, page, questions, static  # noqa: E402

qs = questions()
terms = glossary.entries()
nbs = root/'nbs'
kinds = {'choices', 'value', 'accept'}


def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']


def anchors(path):
    "The fragments of links to the headings of a notebook."
    text = '\n'.join(re.sub(r'```.*?```', '', ''.join(c['source']), flags=re.S) for c in cells(path) if c['cell_type'] == 'markdown')
    return {unquote(quiz.anchor(h.strip())) for h in re.findall(r'^#{1,6} +(.*)$', text, re.M)}


# Questions

def test_there_are_forty():
    assert [q['n'] for q in qs] == list(range(1, 41))
    for q in qs:
        assert len(kinds & {*q}) == 1 and q['question'].strip() and q['section'], q['n']
        assert 2 <= len(re.findall(r'[.!?:)](?=\s|$)', q['answer'])) <= 9 and 80 < len(q['answer']) < 700, q['n']


def test_every_wrong_answer_is_told_why():
    for q in qs:
        if 'choices' in q:
            assert len(q['choices']) == 4 and [c['right'] for c in q['choices']].count(True) == 1, q['n']
            assert all(len(c['feedback']) >= 4 if c['right'] else len(c['feedback']) > 20 for c in q['choices']), q['n']
            assert len({c['text'] for c in q['choices']}) == 4
        else: assert len(q['traps']) >= 2 and all(len(t['feedback']) > 20 for t in q['traps']), q['n']


def test_the_right_choice_is_not_always_in_the_same_place():
    places = [[c['right'] for c in q['choices']].index(True) for q in qs if 'choices' in q]
    assert max(places.count(i) for i in range(4)) <= len(places)*.45
    for tell in (max, min):  # neither the longest nor the shortest is right too often
        told = [tell(q['choices'], key=lambda c: len(c['text']))['right'] for q in qs if 'choices' in q]
        assert sum(told) < len(told)*.45


@pytest.mark.parametrize('q', qs, ids=lambda q: str(q['n']))
def test_it_is_judged_as_it_says(q):
    if 'choices' in q:
        for letter, c in zip('abcd', q['choices']): assert judge(q, letter) == (c['right'], c['feedback'])
    else:
        for given in [str(q['value'])] if 'value' in q else q['accept']: assert judge(q, given)[0] is True, given
        for t in q['traps']: assert judge(q, str(t['given'])) == (False, t['feedback']), t
    for nothing in ('', '  ', '?'): assert judge(q, nothing)[0] is None
    text = static(q)
    assert text.count('<details>') == text.count('</details>') == 1 + (4 if 'choices' in q else 1 + len(q['traps']))


@pytest.mark.parametrize('q', [q for q in qs if 'value' in q], ids=lambda q: str(q['n']))
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
def test_a_choice_is_one_letter(text): assert judge(qs[0], text)[0] is None


def questionnaire():
    "The code cells of the questionnaire by the question they come after."
    found, n = {}, None
    for c in cells(nbs/'10_questionnaire.ipynb'):
        src = ''.join(c['source'])
        if c['cell_type'] != 'code': continue
        asked = re.fullmatch(r'ask\((\d+)\)', src.strip())
        if asked: found[n := int(asked[1])] = []
        elif n: found[n].append(src)
    return found


def test_the_notebook_asks_all_in_order_and_computes_what_can_be():
    found = questionnaire()
    assert list(found) == list(range(1, 41))
    proved = {n for n, code in found.items() if any(re.search(r'\b(assert|test_\w+\()', s) for s in code)}
    assert len(proved) >= 28, sorted(proved)
    for q in qs:
        if 'value' in q: assert q['n'] in proved, f"question {q['n']} has a number that no cell computes"


def test_numbers_in_the_file_are_what_is_computed():
    import torch
    import torch.nn.functional as F

    from convlab.arithmetic import arithmetic
    from convlab.convolutions import out_size
    from convlab.kernels import apply_kernel, top_edge
    from convlab.models import n_params, simple_cnn
    from convlab.norms import BatchNorm2d
    from convlab.receptive import receptive_field
    two = torch.nn.Sequential(*[torch.nn.Conv2d(1, 1, 3, stride=2) for _ in range(2)])
    window = torch.ones(1, 3, 3, 3)
    computed = {4: apply_kernel(torch.zeros(3, 3), 1, 1, top_edge).item(), 6: out_size(28, 3, stride=2, padding=1),
                15: arithmetic(simple_cnn(), (1, 28, 28)).multiplications[2], 17: receptive_field(two, (1, 28, 28)).size[0],
                18: receptive_field(two, (1, 28, 28)).size[0]**2, 21: F.conv2d(window, window).item(), 38: n_params(BatchNorm2d(8))}
    assert {q['n']: q['value'] for q in qs if 'value' in q} == computed
    traps = {t['given'] for t in qs[14]['traps']}
    assert traps == {7*7*1168, 14*14*1152, 1152, 4*4*1152}


def test_the_saved_notebook_needs_no_kernel():
    nb = json.loads((nbs/'10_questionnaire.ipynb').read_text(encoding='utf-8'))
    assert 'widgets' not in nb['metadata']
    for c in nb['cells']:
        for out in c.get('outputs', []): assert 'application/vnd.jupyter.widget-view+json' not in out.get('data', {})
        if ''.join(c['source']).startswith('ask('):
            html = ''.join(c['outputs'][0]['data']['text/html'])
            question = qs[int(re.search(r'\d+', ''.join(c['source']))[0])-1]
            assert html.count('<details>') >= 3 and f'<div class="convlab-place" data-piece="">{static(question)}' in html, 'run `make notebooks`'


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
        for target, fragment in re.findall(r'\]\(([\w./]*\.ipynb)#([^)]+)\)', text):
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
    assert {unquote(quiz.anchor(t['term'])) for t in terms} <= anchors(nbs/'glossary.ipynb')


def test_first_uses_are_linked_and_nothing_else():
    cells = ['# A kernel\n\n> Kernels.\n\nOne `kernel` and $kernel$, [a kernel](x.ipynb), then **kernels** and kernels. A *receptive\nfield* jumps.',
             '```\nstride\n```\n| stride |\nA sub-stride, the stride_2, and Stride; the effective receptive field. A *jump*.']
    out = glossary.linked(cells, terms)
    assert out[0] == cells[0].replace('**kernels**', '**[kernels](glossary.ipynb#kernel)**').replace(
        '*receptive\nfield*', '*[receptive\nfield](glossary.ipynb#receptive-field)*')
    assert out[1] == cells[1].replace('and Stride', 'and [Stride](glossary.ipynb#stride)').replace(
        'the effective receptive field', 'the [effective receptive field](glossary.ipynb#effective-receptive-field)').replace(
        '*jump*', '*[jump](glossary.ipynb#jump)*')
    assert glossary.linked(out, terms) == out


def test_linking_follows_a_text_that_changes():
    out = glossary.linked(['A kernel.', 'A kernel.'], terms)
    moved = glossary.linked(['A stride.', out[0]], terms)
    assert moved == ['A [stride](glossary.ipynb#stride).', 'A [kernel](glossary.ipynb#kernel).']
    assert glossary.linked(['A kernel.', *moved], terms)[2] == 'A kernel.'


def test_lessons_are_linked():
    done = subprocess.run([sys.executable, 'tools/glossary.py', '--check'], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, f'run `python tools/glossary.py`\n{done.stdout}{done.stderr}'


# Review

def test_review_asks_what_is_due(monkeypatch, tmp_path):
    monkeypatch.setenv('CONVLAB_PROGRESS', str(tmp_path/'p.json'))
    asked = []
    monkeypatch.setattr(quiz, 'ask', asked.append)
    for n, right in ((7, True), (9, False), (8, True)): quiz._note(qs[n-1], right, first=True)
    quiz._note(qs[8], True, first=False)  # right at the second try: done, but to be asked again
    quiz.review()
    assert asked[0] == 9 and {*asked[1:3]} == {7, 8} and asked[3:] == [1, 2]
