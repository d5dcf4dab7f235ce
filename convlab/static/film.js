import { button, choice, dress, make, slider } from './ui.js'
import { filmFrames } from './film_numbers.js'

// An animated picture with a time line. It is taken from the still: where this does not run, the picture plays by itself.
export default {
  async render({ model, el, still }) {
    const image = still.find(node => node.tagName === 'IMG'), canvas = make('canvas', { role: 'img', style: 'background:#fff' }), ctx = canvas.getContext('2d')
    const frames = await filmFrames(await (await fetch(image.src)).arrayBuffer())
    const n = frames.length, calm = matchMedia('(prefers-reduced-motion: reduce)').matches
    let at = 0, speed = 1, timer = null
    Object.assign(canvas, { width: frames[0].width, height: frames[0].height })
    const show = k => {
      at = (k + n) % n
      ctx.drawImage(frames[at], 0, 0)
      line.show(at)
      canvas.ariaLabel = `${image.alt}. Frame ${at + 1} of ${n}.`
    }
    const play = on => {
      clearTimeout(timer)
      timer = on ? setTimeout(() => { show(at + 1); play(canvas.isConnected) }, model.get('ms') / speed) : null
      toggle.textContent = on ? 'Pause' : 'Play'
    }
    const step = by => { play(false); show(at + by) }
    const toggle = button('Pause', () => play(timer === null), { style: 'width:5em' })
    const line = slider({ label: 'Frame', min: 0, max: n - 1, value: 0, write: k => `${k + 1} / ${n}`, change: k => { play(false); show(k) } })
    line.style.flex = '1 1 220px'
    const pace = choice({ label: 'Speed', options: [[.25, '¼ ×'], [.5, '½ ×'], [1, '1 ×'], [2, '2 ×'], [4, '4 ×']], value: 1, change: v => { speed = Number(v); play(timer !== null) } })
    dress(el).append(canvas, make('div', { className: 'row', style: 'margin-top:8px' },
      toggle, button('‹', () => step(-1), { ariaLabel: 'One frame back' }), button('›', () => step(1), { ariaLabel: 'One frame on' }), line, pace))
    el.style.maxWidth = `max(${canvas.width + 30}px, 30em)`
    show(0)
    play(!calm)
  },
}
