// What StrideLab, ValleyLab and RingLab share: their state, dials, tasks that are ticked off, and a player.
import { button, freshId, make, readNumber } from './ui.js'

export const partsStyle = `
.convlab-live .dial { display: grid; grid-template-columns: 6.6em minmax(70px, 1fr) 4.2em; align-items: center; gap: 8px; font-size: 13px; min-height: 34px }
.convlab-live .dial input { width: 100%; min-width: 0 }
.convlab-live .dial input[type=text] { text-align: right; padding: 2px 6px; font-variant-numeric: tabular-nums }
.convlab-live [aria-invalid=true] { border-color: var(--bad) !important }
.convlab-live .panel { background: var(--raised); border-radius: 8px; padding: 10px 12px; min-width: 0 }
.convlab-live .panel input[type=text], .convlab-live .panel button { background: var(--page) !important }
.convlab-live ul.tasks { list-style: none; margin: 0; padding: 0; display: grid; gap: 6px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); column-gap: 20px }
.convlab-live .tasks li { display: grid; grid-template-columns: 18px 1fr; gap: 7px; font-size: 13px; margin: 0 }
.convlab-live .tasks .box { width: 16px; height: 16px; margin-top: 2px; border: 1.5px solid var(--edge); border-radius: 4px; font: 700 12px/13px system-ui; text-align: center }
.convlab-live .tasks .done .box { background: var(--good); border-color: var(--good); color: var(--page) }
.convlab-live .tasks .said { display: block; color: var(--good) }
.convlab-live .tasks li:not(.done) .said { display: none }
`

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
  const show = v => {
    range.value = to(v)
    range.setAttribute('aria-valuetext', v)
    field.value = String(v).replace('-', '−')
    field.setAttribute('aria-invalid', false)
  }
  range.oninput = () => { warn(); change(Math.min(max, Math.max(min, from(range.value)))) }
  field.onchange = () => {
    const v = readNumber(field.value), whole = step === 1 && !log, wrong = v === null || v < min || v > max || whole && v % 1
    field.setAttribute('aria-invalid', Boolean(wrong))
    warn(wrong ? `${label} must be a ${whole ? 'whole ' : ''}number from ${min} to ${max}; got “${field.value}”.`.replace('-', '−') : '')
    if (!wrong) change(v)
  }
  return Object.assign(make('div', { className: 'dial' }, make('label', { for: id, textContent: label }), range, field), { show })
}

// Tasks as a list. `check(met, done)` ticks those that are met; it returns all that have ever been, or null if none is new.
export function taskList(tasks, tell) {
  const count = make('span', { className: 'soft' }), rows = new Map(tasks.map(t => [t.id, taskRow(t)]))
  const el = make('div', {}, make('h4', {}, 'Try this ', count), make('ul', { className: 'tasks' }, ...[...rows.values()].map(r => r.el)))
  return {
    el,
    check(met, done) {
      const fresh = tasks.filter(t => met.includes(t.id) && !done.includes(t.id)), all = [...done, ...fresh.map(t => t.id)]
      for (const [id, row] of rows) row.show(all.includes(id))
      count.textContent = `${all.length} of ${tasks.length}`
      if (fresh.length) tell(fresh.map(t => `Done: ${t.text} ${t.said}`).join(' '))
      return fresh.length ? all : null
    },
  }
}

function taskRow({ text, said }) {
  const box = make('span', { className: 'box', 'aria-hidden': 'true' }), state = make('span', { className: 'unseen' })
  const el = make('li', {}, box, make('span', {}, state, text, make('span', { className: 'said', textContent: said })))
  return { el, show(done) {
    el.className = done ? 'done' : ''
    box.textContent = done ? '✓' : ''
    state.textContent = done ? 'Done: ' : 'To do: '
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
