// RingLab: a ring of one color on ground of another, in gray, in its channels and through three kernels.
import { button, freshId, largest, make, messages, paintMap, perFrame, sized, written } from './ui.js'
import { dial, following, keepUp, note, openLab, taskList } from './labs_parts.js'
import { ringContrast, ringGray, ringKernels, ringMap, ringMask, ringMet, ringSays, ringSize, ringTasks } from './ring_numbers.js'

const ringStyle = `
.RingLab {
  .views { display: grid; gap: 12px 10px; grid-template-columns: repeat(4, minmax(0, 1fr)); font-size: 12.5px }
  figure canvas { width: 100% !important; height: auto !important; aspect-ratio: 1; image-rendering: pixelated; border: 1px solid var(--edge); border-radius: 4px }
  figcaption { margin-top: 3px; line-height: 1.35 }
  b { font-weight: 600; display: block }
  .gone b::after { content: " · gone"; color: var(--accent) }
  .gone canvas { outline: 3px solid var(--accent); outline-offset: 1px }
  .told { margin: 10px 0 }
  .head { display: flex; align-items: center; justify-content: space-between }
  .head h4 { margin: 0 }
  input[type=color] { width: 64px; height: 32px; padding: 3px; cursor: pointer }
  @container (min-width: 720px) { grid: auto 1fr / 300px minmax(0, 1fr); .dials { grid-area: 1 / 1 / 3 / 2 } }
  @container (max-width: 719px) { .stage { order: -1 } .views { gap: 8px 7px; font-size: 11.5px } }
}
`
const ringLights = ['Red', 'Green', 'Blue']
const ringShades = [[[103, 0, 13], [255, 245, 240]], [[0, 68, 27], [247, 252, 245]], [[8, 48, 107], [247, 251, 255]]] // no light, full light

function ringPaint(canvas, mask, colors) { // colors: of the ground and of the ring
  const ctx = sized(canvas, 1, 1, ringSize), data = ctx.createImageData(ringSize, ringSize)
  Object.assign(canvas, { width: ringSize, height: ringSize })
  for (let p = 0; p < mask.length; p++) data.data.set([...colors[mask[p]], 255], 4 * p)
  canvas.getContext('2d').putImageData(data, 0, 0)
}
const ringShade = (c, v) => ringShades[c][0].map((dark, k) => Math.round(dark + (ringShades[c][1][k] - dark) * v / 255))
const ringHex = color => `#${color.map(v => v.toString(16).padStart(2, '0')).join('')}`

function ringView(name) {
  const canvas = make('canvas', { role: 'img' }), numbers = make('span', { className: 'soft' }), el = make('figure', {}, canvas, make('figcaption', {}, make('b', { textContent: name }), numbers))
  return { canvas, el, show(text, gone) {
    numbers.textContent = text
    el.className = gone ? 'gone' : ''
    canvas.setAttribute('aria-label', `${name}: ${text}${gone ? ', the ring is gone' : ''}`)
  } }
}

// The picker of one color, and a dial for each of its lights.
function ringColor(title, change, warn) {
  const id = freshId('color'), picker = make('input', { type: 'color', id })
  const dials = ringLights.map((label, c) => dial({ label, min: 0, max: 255, warn, change: v => change(now.map((old, k) => k === c ? v : old)) }))
  let now = [0, 0, 0]
  for (const d of dials) for (const input of d.querySelectorAll('input')) input.setAttribute('aria-label', `${title}: ${d.textContent}${input.type === 'text' ? ', as a number' : ''}`)
  picker.oninput = () => change([1, 3, 5].map(k => parseInt(picker.value.slice(k, k + 2), 16)))
  const el = make('div', { className: 'panel' }, make('div', { className: 'head' }, make('h4', {}, make('label', { htmlFor: id, textContent: title })), picker), ...dials)
  return { el, show(color) { now = color; picker.value = ringHex(color); dials.forEach((d, c) => d.show(color[c])) } }
}

export default {
  render({ model, el }) {
    const { told, alert, tell, warn } = messages(), mask = ringMask()
    const state = following(model, ['ring', 'ground', 'own', 'done'], perFrame(refresh)), tasks = taskList(ringTasks, state)
    const colors = ['ring', 'ground'].map(name => [name, ringColor(name === 'ring' ? 'The ring' : 'The ground', v => state.put({ [name]: v }), warn)])
    const factors = ringLights.map((name, c) => dial({ label: `× ${name.toLowerCase()}`, min: -2, max: 2, step: .01, warn, change: v => state.put({ own: state.all.own.map((old, k) => k === c ? v : old) }) }))
    const [color, gray, ...rest] = ['in color', 'in gray', ...ringLights.map(v => `in ${v.toLowerCase()}`), 'the mean', 'blue_edge', 'your own'].map(ringView), channels = rest.slice(0, 3), kernels = rest.slice(3)
    const own = make('div', { className: 'panel' }, make('h4', { textContent: 'Your own kernel' }), ...factors, note('Each kernel is top_edge with a factor for each channel: ⅓, ⅓, ⅓ for the mean, −1, −1, 2 for blue_edge.'))
    const swap = button('Swap the colors', () => state.put({ ring: state.all.ground, ground: state.all.ring }))
    openLab(el, ringStyle, 'RingLab', 'A ring on ground of another color. Where can it be seen, and where is it gone?', make('div', { className: 'dials' }, ...colors.map(c => c[1].el), own),
      make('div', { className: 'stage' }, make('div', { className: 'views' }, ...[color, gray, ...rest].map(v => v.el)), told, alert, swap), tasks.el)

    function refresh() {
      const s = state.all, c = ringContrast(s), both = [s.ground, s.ring], blind = v => Math.abs(v) < 1e-6
      for (const [name, part] of colors) part.show(s[name])
      factors.forEach((d, k) => d.show(s.own[k]))
      ringPaint(color.canvas, mask, both)
      color.show(`${written(c.distance, 0)} apart`, blind(c.distance))
      ringPaint(gray.canvas, mask, both.map(v => Array(3).fill(ringGray(v))))
      gray.show(`${ringGray(s.ring)} on ${ringGray(s.ground)}`, blind(c.gray))
      channels.forEach((view, k) => {
        ringPaint(view.canvas, mask, both.map(v => ringShade(k, v[k])))
        view.show(`${s.ring[k]} on ${s.ground[k]}`, blind(c.channels[k]))
      })
      const maps = ringKernels(s.own).map(k => ringMap(k.mix, s))
      maps.forEach((map, k) => {
        paintMap(sized(kernels[k].canvas, 1, 1, 2 * (ringSize - 2)), map, ringSize - 2, ringSize - 2, { cell: 2, signed: true, lim: 765, numbers: false })
        const most = largest(map)
        kernels[k].show(blind(c.kernels[k]) ? 'answers 0' : `answers up to ${written(most, 0)}`, blind(c.kernels[k]))
      })
      tell(ringSays(s))
      tasks.check(ringMet(s))
    }
    return keepUp(el, refresh, state)
  },
}
