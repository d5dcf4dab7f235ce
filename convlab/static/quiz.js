import { button, dress, freshId, make } from './ui.js'

const quizStyle = `
&.quiz {max-width:62em;padding:10px 14px}
fieldset {border:0;margin:0;padding:0}
legend {padding:0;margin:0 0 8px;font-size:15px}
.choice {display:flex;gap:8px;align-items:baseline;padding:4px 6px;border-radius:6px;cursor:pointer}
.choice:hover {background:var(--raised)}
textarea {display:block;width:100%;font:inherit;color:var(--text);background:var(--raised);border:1px solid var(--edge);border-radius:6px;padding:6px 10px}
.row {margin-top:8px}
.reply {border-left:4px solid var(--edge);padding:2px 10px;margin-top:10px}
.reply.right {border-color:var(--good)}
.reply.wrong {border-color:var(--bad)}
.reply:empty,.answer:empty {display:none}
.answer {margin-top:10px;padding:8px 12px;background:var(--raised);border-radius:6px;a {color:inherit}}
.answer ul {margin:0 0 8px;padding-left:20px}
.answer p:last-child {margin:0}
`
const letters = 'abcd'
// A sentence of one's own is marked by who wrote it: 3 for all of it, 2 for a part, 1 for nothing yet
const marks = { 3: 'All of it', 2: 'Part of it', 1: 'Not yet' }

// A question. `given` {n, text, mark} is what the reader answered, for the n-th time; `reply` {n, right, text} is what was said to it.
// Python judges and remembers while a kernel runs; without one the page judges the choices itself.
export default {
  render({ model, el }) {
    const { number, question, choices, words, hint } = model.get('about'), group = freshId('choice'), patience = 3000
    let timer = null
    const radios = choices.map((_, k) => make('input', { type: 'radio', name: group, value: letters[k], onclick: e => e.detail && submit() })) // a real click is an answer
    const field = words
      ? make('textarea', { rows: 3, placeholder: 'A sentence or two of your own', ariaLabel: 'Your answer, in a sentence or two' })
      : make('input', { type: 'text', placeholder: hint, size: 18, autocomplete: 'off', ariaLabel: `Your answer: ${hint}` })
    const options = choices.map((c, k) => make('label', { className: 'choice' }, radios[k], make('span', { innerHTML: `${letters[k]}&ensp;${c.text}` })))
    const reply = make('div', { className: 'reply', role: 'status' }), answer = make('div', { className: 'answer' })
    const show = button('Show the answer', reveal)
    const judged = make('div', { className: 'row' }, 'How much of it did you have?', ...[3, 2, 1].map(m => button(marks[m], () => give(m))))
    const form = make('form', { onsubmit: e => { e.preventDefault(); submit() } },
      make('fieldset', {}, make('legend', { innerHTML: `<strong>${number}.</strong> ${question}` }), ...options, ...words ? [field] : []),
      make('div', { className: 'row' }, ...choices.length || words ? [] : [field], make('button', { type: 'submit', textContent: words ? 'Compare' : 'Check' }), show))
    dress(el, quizStyle).append(form, ...words ? [answer, judged, reply] : [reply, answer])
    el.classList.add('quiz')

    function reveal() { model.set('shown', true); model.save_changes(); follow() }
    function submit() {
      if (!words) return give(0)
      if (!/\w+\W+\w/.test(field.value)) return say(null, 'Write a sentence first.')
      reveal()
    }
    function give(mark) {
      const text = choices.length ? radios.find(r => r.checked)?.value ?? '' : field.value
      model.set('given', { n: model.get('given').n + 1, text, mark })
      model.save_changes()
      clearTimeout(timer)
      if (model.line === null) judgeHere()
      else timer = setTimeout(judgeHere, patience)
    }
    function judgeHere() { // nobody else does
      const { text, mark } = model.get('given'), chosen = choices[letters.indexOf(text || '-')]
      if (mark) say(mark === 3 ? true : mark === 2 ? null : false, `${marks[mark]}.`)
      else if (chosen) say(chosen.right, chosen.reply)
      else say(null, choices.length ? 'Choose one first.' : 'What is typed is checked while Python runs: run this cell. Or show the answer.')
    }
    function say(right, text) {
      model.set('reply', { n: model.get('given').n, right, text })
      model.save_changes()
      follow()
    }
    function follow() {
      const { n, right, text } = model.get('reply'), sign = right === null ? '' : right ? '✓ ' : '✗ '
      if (n === model.get('given').n) clearTimeout(timer)
      reply.innerHTML = text && sign + text
      reply.className = `reply ${right === null ? '' : right ? 'right' : 'wrong'}`
      answer.innerHTML = right || model.get('shown') ? model.get('about').answer : ''
      show.hidden = answer.innerHTML !== ''
      judged.hidden = !words || !show.hidden
    }
    const { text } = model.get('given')
    field.value = text
    for (const r of radios) r.checked = r.value === text
    model.on('change:reply', follow)
    model.on('change:shown', follow)
    follow()
  },
}
