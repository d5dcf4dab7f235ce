import { button, dress, freshId, make } from './ui.js'

const quizStyle = `
&.quiz {max-width:62em;padding:10px 14px}
fieldset {border:0;margin:0;padding:0}
legend {padding:0;margin:0 0 8px;font-size:15px}
.choice {display:flex;gap:8px;align-items:baseline;padding:4px 6px;border-radius:6px;cursor:pointer}
.choice:hover {background:var(--raised)}
form .row {margin-top:8px}
.reply {border-left:4px solid var(--edge);padding:2px 10px;margin-top:10px}
.reply.right {border-color:var(--good)}
.reply.wrong {border-color:var(--bad)}
.reply:empty,.answer:empty {display:none}
.answer {margin-top:10px;padding:8px 12px;background:var(--raised);border-radius:6px;a {color:inherit}}
.answer p:last-child {margin:0}
`
const letters = 'abcd'

// A question. `given` {n, text} is what the reader answered, for the n-th time; `reply` {n, right, text} is what was said to it.
// Python judges and remembers while a kernel runs; without one the page judges the choices itself.
export default {
  render({ model, el }) {
    const { number, question, choices, hint } = model.get('about'), group = freshId('choice'), patience = 3000
    let timer = null
    const radios = choices.map((_, k) => make('input', { type: 'radio', name: group, value: letters[k], onclick: e => e.detail && submit() })) // a real click is an answer
    const field = make('input', { type: 'text', placeholder: hint, size: 18, autocomplete: 'off', ariaLabel: `Your answer: ${hint}` })
    const options = choices.map((c, k) => make('label', { className: 'choice' }, radios[k], make('span', { innerHTML: `${letters[k]}&ensp;${c.text}` })))
    const reply = make('div', { className: 'reply', role: 'status' }), answer = make('div', { className: 'answer' })
    const show = button('Show the answer', () => { model.set('shown', true); model.save_changes(); follow() })
    const form = make('form', { onsubmit: e => { e.preventDefault(); submit() } },
      make('fieldset', {}, make('legend', { innerHTML: `<strong>${number}.</strong> ${question}` }), ...options),
      make('div', { className: 'row' }, ...choices.length ? [] : [field], make('button', { type: 'submit', textContent: 'Check' }), show))
    dress(el, quizStyle).append(form, reply, answer)
    el.classList.add('quiz')

    function submit() {
      const text = choices.length ? radios.find(r => r.checked)?.value ?? '' : field.value, n = model.get('given').n + 1
      model.set('given', { n, text })
      model.save_changes()
      clearTimeout(timer)
      if (model.line === null) judgeHere()
      else timer = setTimeout(judgeHere, patience)
    }
    function judgeHere() { // nobody else does
      const { n, text } = model.get('given'), chosen = choices[letters.indexOf(text || '-')]
      const silent = 'What is typed is checked while Python runs: run this cell. Or show the answer.'
      model.set('reply', { n, right: chosen ? chosen.right : null, text: chosen ? chosen.reply : choices.length ? 'Choose one first.' : silent })
      model.save_changes()
      follow()
    }
    function follow() {
      const { n, right, text } = model.get('reply'), sign = right === null ? '' : right ? '✓ ' : '✗ '
      if (n === model.get('given').n) clearTimeout(timer)
      reply.innerHTML = n ? sign + text : ''
      reply.className = `reply ${right === null ? '' : right ? 'right' : 'wrong'}`
      answer.innerHTML = right || model.get('shown') ? model.get('about').answer : ''
      show.hidden = answer.innerHTML !== ''
    }
    const { text } = model.get('given')
    field.value = text
    for (const r of radios) r.checked = r.value === text
    model.on('change:reply', follow)
    model.on('change:shown', follow)
    follow()
  },
}
