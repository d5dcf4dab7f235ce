// What StrideLab, ValleyLab and RingLab share: their state, dials, tasks that are ticked off, and a player.
import { button, dress, freshId, make, perFrame, readNumber } from './ui.js'

const partsStyle = `
.convlab-lab { display: grid; gap: 14px 18px; grid-template-columns: minmax(0, 1fr) }
.convlab-live {
  .dial { display: grid; grid-template-columns: 6.6em minmax(60px, 1fr) 4.2em; align-items: center; gap: 8px; font-size: 13px; min-height: 36px }
  .dial input { width: 100%; min-width: 0 }
  .dial input[type=text] { text-align: right; padding: 2px 6px; font-variant-numeric: tabular-nums }
  .panel { background: var(--raised); border-radius: 8px; padding: 10px 12px; margin-bottom: 10px; min-width: 0 }
  .panel :is(input, button) { background: var(--page) !important }
  .small { font-size: 12.5px; margin: 5px 0 }
  figure { margin: 0; min-width: 0 }
  .tasks { list-style: none; margin: 0; padding: 0; display: grid; gap: 6px 20px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)) }
  .tasks li { display: grid; grid-template-columns: 18px 1fr; gap: 7px; font-size: 13px; margin: 0 }
  .tasks i { width: 16px; height: 16px; margin-top: 2px; border: 1.5px solid var(--edge); border-radius: 4px; font: 700 12px/13px system-ui; text-align: center }
  .tasks .done i { background: var(--good); border-color: var(--good); color: var(--page) }
  .said { display: block; color: var(--good) }
  .tasks li:not(.done) .said { display: none }
}
`

export const between = (v, least, most) => Math.max(least, Math.min(most, v))
export function note(text = '') { return make('p', { className: 'soft small', textContent: text }) }

// Dress `el`, with a title, a question and what follows.
export function openLab(el, style, title, question, ...rest) {
  dress(el, partsStyle + style)
  el.append(make('h3', { textContent: title }), make('p', { className: 'soft', textContent: question }), make('div', { className: `convlab-lab ${title}` }, ...rest))
}

// The state of a piece. `put` changes it on the page at once and in Python soon; `changed` hears of changes from either side.
export function following(model, names, changed) {
  let timer = null
  for (const name of names) model.on(`change:${name}`, changed)
  return {
    get all() { return Object.fromEntries(names.map(name => [name, model.get(name)])) },
    put(values) {
      for (const [name, value] of Object.entries(values)) model.set(name, value)
      clearTimeout(timer)
      timer = setTimeout(() => model.save_changes(), 150)
    },
    stop() {
      clearTimeout(timer)
      for (const name of names) model.off(`change:${name}`, changed)
    },
  }
}

// A slider with a field that can be typed into. What cannot be a value is told to `warn`, and the value before stays.
export function dial({ label, min, max, step = 1, log = false, change, warn }) {
  const [to, from] = log ? [Math.log10, v => Number((10 ** v).toPrecision(2))] : [Number, Number], id = freshId('dial')
  const range = make('input', { type: 'range', id, min: to(min), max: to(max), step: log ? .01 : step })
  const field = make('input', { type: 'text', inputMode: 'decimal', autocomplete: 'off', 'aria-label': `${label}, as a number` })
  let now = min, typing = false
  const show = v => {
    now = v
    range.value = to(v)
    range.ariaValueText = v
    if (!typing) field.value = String(v).replace('-', '−')
  }
  range.oninput = () => { const v = between(from(range.value), min, max); warn(); change(v) }
  field.oninput = () => { typing = true }
  field.onchange = () => {
    typing = false
    const v = readNumber(field.value), whole = step === 1 && !log, wrong = v === null || v < min || v > max || whole && v % 1
    const said = wrong ? `${label} must be a ${whole ? 'whole ' : ''}number from ${min} to ${max}; got “${field.value}”.`.replace('-', '−') : ''
    if (wrong) show(now)
    warn(said)
    if (!wrong) change(v)
  }
  return Object.assign(make('div', { className: 'dial' }, make('label', { htmlFor: id, textContent: label }), range, field), { show })
}

// A dial for each of [[name in the state, label, least, most, step, log], …].
export function dialRows(rows, put, warn) {
  const all = rows.map(([name, label, min, max, step, log]) => [name, dial({ label, min, max, step, log, warn, change: v => put({ [name]: v }) })])
  return { els: all.map(d => d[1]), show(s) { for (const [name, d] of all) d.show(s[name]) } }
}

// Call `refresh` now and whenever `el` has another size; `stop` ends that and all else.
export function keepUp(el, refresh, ...others) {
  const watch = new ResizeObserver(perFrame(refresh))
  watch.observe(el)
  refresh()
  return () => { for (const o of [...others, { stop: () => watch.disconnect() }]) o.stop() }
}

// Tasks as a list. `check(met)` ticks those that are met, for good.
export function taskList(tasks, state) {
  const count = make('span', { className: 'soft' }), heard = make('p', { className: 'unseen', role: 'status' }), rows = new Map(tasks.map(t => [t.id, taskRow(t)]))
  const el = make('div', { className: 'wide' }, make('h4', {}, 'Try this ', count), make('ul', { className: 'tasks' }, ...[...rows.values()].map(r => r.el)), heard)
  return {
    el,
    check(met) {
      const { done } = state.all, fresh = tasks.filter(t => met.includes(t.id) && !done.includes(t.id)), all = [...done, ...fresh.map(t => t.id)]
      for (const [id, row] of rows) row.show(all.includes(id))
      count.textContent = `${all.length} of ${tasks.length}`
      if (!fresh.length) return
      heard.textContent = fresh.map(t => `Done: ${t.text} ${t.said}`).join(' ')
      state.put({ done: all })
    },
  }
}

function taskRow({ text, said }) {
  const box = make('i', { role: 'img' }), el = make('li', {}, box, make('span', {}, text, make('span', { className: 'said', textContent: said })))
  return { el, show(done) {
    el.className = done ? 'done' : ''
    box.textContent = done ? '✓' : ''
    box.ariaLabel = done ? 'done' : 'to do'
  } }
}

// Play and pause, a step back, a step on. `move(k)` makes k steps and says whether there was room.
export function player({ move, ms = 400, others = [] }) {
  let timer = null
  const play = button('▶ Play', () => timer ? stop() : start(), { className: 'play' })
  const show = () => { play.textContent = timer ? '❚❚ Pause' : '▶ Play' }
  function stop() { clearInterval(timer); timer = null; show() }
  function start() {
    if (!move(1)) move(-Infinity)
    timer = setInterval(() => { if (!play.isConnected || !move(1)) stop() }, ms)
    show()
  }
  const by = k => () => { stop(); move(k) }
  const steps = [button('◀ Back', by(-1)), button('Step ▶', by(1)), ...others.map(([text, k]) => button(text, by(k)))]
  return { el: make('div', { className: 'row', role: 'group', 'aria-label': 'Steps' }, play, ...steps), stop, enable(on) { for (const b of [play, ...steps]) b.disabled = !on } }
}
