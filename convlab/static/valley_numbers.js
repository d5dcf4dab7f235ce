// A ball in the valley with two dips of lesson 08: the arithmetic of ValleyLab. It knows nothing of the page.

export const valleyDips = [{ name: 'narrow', at: -1, c: 24 }, { name: 'wide', at: 2, c: 1 }] // c: curvature

// The loss, -log(sum of exp(-c/2 (w-at)²)), and its slope: each dip's own, weighted by its share in the sum.
export function valleyAt(w) {
  const [p, q] = valleyDips.map(d => -d.c / 2 * (w - d.at) ** 2), top = Math.max(p, q)
  const [ep, eq] = [Math.exp(p - top), Math.exp(q - top)], share = ep / (ep + eq)
  const [slope, other] = valleyDips.map(d => d.c * (w - d.at))
  return { loss: -top - Math.log(ep + eq), slope: share * slope + (1 - share) * other }
}

// Random numbers with mean 0 and variance 1, the same for the same seed and in Python: twelve even ones (mulberry32), added.
export function valleyNoise(seed) {
  let a = seed >>> 0
  const even = () => {
    a = (a + 0x6D2B79F5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), a | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return () => { let sum = -6; for (let i = 0; i < 12; i++) sum += even(); return sum }
}

// The learning rate of update i of n.
export function valleyRate({ rate, schedule }, i, n) {
  const pos = i / n, cosine = (a, b, x) => a + (b - a) * (1 - Math.cos(Math.PI * x)) / 2
  if (schedule === 'linear') return rate * (1 - pos)
  if (schedule === '1cycle') return pos < .25 ? cosine(rate / 25, rate, pos / .25) : cosine(rate, rate / 1e5, (pos - .25) / .75)
  return rate
}

// The way of one ball, `steps + 1` weights; as `descend` in lesson 08.
export function valleyPath(s, ball = 0) {
  const noise = valleyNoise(s.seed + 1000 * ball), ws = [s.start]
  for (let i = 0, w = s.start, avg = 0; i < s.steps; i++) {
    avg = s.momentum * avg + (1 - s.momentum) * (valleyAt(w).slope + s.noise * noise())
    ws.push(w -= valleyRate(s, i, s.steps) * avg)
  }
  return ws
}

export function valleyPaths(s) { return Array.from({ length: s.balls }, (_, b) => valleyPath(s, b)) }

// The largest curvature that holds steps of this rate, and the largest rate that a dip of this curvature holds: 2/rate, and with
// momentum m (1+m)/(1-m) times that.
export function valleyHolds(rate, momentum = 0) { return 2 / rate * (1 + momentum) / (1 - momentum) }

const valleyMean = v => v.reduce((a, b) => a + b, 0) / v.length
export const valleyStd = v => { const m = valleyMean(v); return Math.sqrt(valleyMean(v.map(x => (x - m) ** 2))) }
const valleyNearest = w => w < .5 ? 0 : 1

// What one run of all balls came to: 'diverged', the name of the dip in which all of them are at the end, or 'both'. Sixty is
// farther out than the narrow dip can throw a ball at a rate that the wide one holds.
export function valleyFate(paths) {
  if (paths.some(ws => Math.abs(ws.at(-1)) > 60)) return 'diverged'
  const where = new Set(paths.map(ws => valleyNearest(ws.at(-1))))
  return where.size > 1 ? 'both' : valleyDips[[...where][0]].name
}

// Is every ball, in its last ten steps, within `near` of the bottom of this dip?
export function valleyRests(paths, dip, near) {
  return paths.every(ws => ws.slice(-10).every(w => Math.abs(w - valleyDips[dip].at) < near))
}

// How far a way goes beyond the bottom of the wide dip, if it comes from above.
export function valleyOvershoot(ws) { return ws[0] > 2 ? Math.max(0, 2 - Math.min(...ws)) : 0 }

// The wide dip at a constant rate with three memories. Without noise from 4.5: how far beyond the bottom, and after how many
// steps within .1 for good. With noise 1 from its bottom, twenty balls: how much the weight scatters, how many fall into the narrow dip.
export function valleyMemories(rate, seed = 0) {
  const common = { rate, schedule: 'constant', seed }
  return [0, .85, .95].map(momentum => {
    const ws = valleyPath({ ...common, momentum, start: 4.5, noise: 0, steps: 400 }), last = ws.findLastIndex(w => Math.abs(w - 2) >= .1)
    const paths = valleyPaths({ ...common, momentum, start: 2, noise: 1, steps: 300, balls: 20 })
    return { momentum, overshoot: valleyOvershoot(ws), settled: last === ws.length - 1 ? null : last + 1,
             scatter: valleyStd(paths.flatMap(p => p.slice(60))), narrow: paths.filter(p => Math.abs(p.at(-1) + 1) < .5).length }
  })
}

export const valleyTasks = [
  { id: 'stay', text: 'Start left of −1.3, and come to rest in the narrow dip.',
    met: (s, p) => s.start < -1.3 && valleyRests(p, 0, .1), said: 'A low rate settles where it began, whatever else there is.' },
  { id: 'leave', text: 'Start there again, and stay in the wide dip.',
    met: (s, p) => s.start < -1.3 && valleyRests(p, 1, .5), said: 'Above 2/c = 0.083 the narrow dip cannot hold a step.' },
  { id: 'diverge', text: 'Make it diverge.',
    met: (s, p) => valleyFate(p) === 'diverged', said: 'Above 2/c of the widest valley each step lands higher than the last.' },
  { id: 'rest', text: 'Noise 1 or more, rate 0.5 or more, a start at 5 or beyond: bring five balls to rest within 0.5 of the wide dip’s bottom.',
    met: (s, p) => s.balls >= 5 && s.noise >= 1 && s.rate >= .5 && s.start >= 5 && valleyRests(p, 1, .5),
    said: 'A constant rate jumps to and fro for ever; one that falls to zero comes to rest.' },
  { id: 'swing', text: 'From 4.5 and without noise, swing more than 1.5 beyond the wide dip’s bottom, and end in it.',
    met: (s, p) => s.noise === 0 && s.start === 4.5 && valleyOvershoot(p[0]) > 1.5 && valleyFate(p) === 'wide',
    said: 'A long memory pushes on when the valley has long turned upwards: 0.4 beyond at rate 0.05, 1.75 beyond at rate 1.' },
  { id: 'same', text: 'With noise 1, find a rate at which memory averages nothing away: all three scatter alike, within a tenth.',
    met: (s, p, memories) => { const v = memories(s.rate, s.seed).map(m => m.scatter); return s.noise >= 1 && Math.max(...v) < 1.1 * Math.min(...v) },
    said: 'Many small steps average by themselves. A long memory only overshoots here.' },
  { id: 'calm', text: 'And one at which it does, while all stay: 0.85 scatters less than three quarters as much as 0.',
    met: (s, p, memories) => { const [none, middle] = memories(s.rate, s.seed); return s.noise >= 1 && none.scatter < 4 && middle.scatter < .75 * none.scatter },
    said: 'But 0.95 does no better than 0.85, and takes three times as long to settle.' },
]

// The tasks that these settings fulfill.
export function valleyMet(s, paths = valleyPaths(s), memories = valleyMemories) {
  return valleyTasks.filter(t => t.met(s, paths, memories)).map(t => t.id)
}
