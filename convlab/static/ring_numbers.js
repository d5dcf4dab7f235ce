// A ring of one color on ground of another, in gray, in its channels and through kernels: the arithmetic of RingLab.

export const ringSize = 64
const ringEdge = [-1, -1, -1, 0, 0, 0, 1, 1, 1] // `top_edge` of lesson 01

// Which pixels are ring: 1 or 0, row by row.
export function ringMask() {
  return Uint8Array.from({ length: ringSize ** 2 }, (_, p) => {
    const i = Math.floor(p / ringSize) - 31.5, j = p % ringSize - 31.5
    return Math.abs(Math.hypot(i, j) - 20) < 5 ? 1 : 0
  })
}

// The luma (ITU-R BT.601) of a color of three bytes, in 16 bits and rounded, as `to_gray` and Pillow have it.
export function ringGray([r, g, b]) { return (19595 * r + 38470 * g + 7471 * b + 32768) >> 16 }

// The three kernels: `top_edge`, times a factor for each channel.
export function ringKernels(own) {
  return [{ name: 'the mean', mix: [1 / 3, 1 / 3, 1 / 3] }, { name: 'blue_edge', mix: [-1, -1, 2] }, { name: 'your own', mix: own }]
}

// Ring minus ground: in each channel, in gray, and for each kernel, which can see nothing else.
export function ringContrast({ ring, ground, own }) {
  const channels = ring.map((v, c) => v - ground[c])
  return { channels, gray: ringGray(ring) - ringGray(ground), distance: Math.hypot(...channels),
           kernels: ringKernels(own).map(k => ringRound(k.mix.reduce((sum, m, c) => sum + m * channels[c], 0))) }
}
const ringRound = v => Math.round(v * 1e9) / 1e9 + 0 // thirds add up to a whole number again; no -0

// The map of a kernel: 62 by 62 numbers.
export function ringMap(mix, { ring, ground }) {
  const mask = ringMask(), n = ringSize - 2, res = new Float64Array(n * n)
  const seen = color => mix.reduce((sum, m, c) => sum + m * color[c], 0), values = [seen(ground), seen(ring)]
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
    let sum = 0
    ringEdge.forEach((w, k) => { if (w) sum += w * values[mask[(i + Math.floor(k / 3)) * ringSize + j + k % 3]] })
    res[i * n + j] = ringRound(sum)
  }
  return res
}

const ringNames = ['red', 'green', 'blue']
const ringGone = v => Math.abs(v) < 1e-6
export const ringTasks = [
  { id: 'gray', text: 'Make the ring vanish in gray, with two colors that are at least 150 apart.',
    met: c => c.gray === 0 && c.distance >= 150, said: 'A hundred thousand colors share one gray. No network that is given gray can find this ring.' },
  { id: 'channel', text: 'Make it vanish in one channel only, and leave at least 40 in gray and in both others.',
    met: c => c.channels.filter(ringGone).length === 1 && c.channels.filter(v => Math.abs(v) >= 40).length === 2 && Math.abs(c.gray) >= 40,
    said: 'One channel may hold nothing of what the others show: so a kernel needs a slice for each.' },
  { id: 'everywhere', text: 'Let nothing hide it: at least 40 in every channel, in gray and for each of the three kernels.',
    met: c => [...c.channels, c.gray, ...c.kernels].every(v => Math.abs(v) >= 40), said: 'It takes luck, or care: most pairs of colors are nearly alike to somebody.' },
  { id: 'blue_edge', text: 'Make it vanish for blue_edge, and leave at least 100 in gray.',
    met: c => ringGone(c.kernels[1]) && Math.abs(c.gray) >= 100, said: 'Slices that add up to zero are blind to all that is gray, however sharp its edges.' },
  { id: 'own', text: 'With colors at least 150 apart, set factors of your own, not all 0, that are blind to the ring.',
    met: (c, s) => ringGone(c.kernels[2]) && c.distance >= 150 && s.own.some(m => m), said: 'Every kernel has its blind pairs, and every pair its blind kernels. A layer has many kernels.' },
]

// The tasks that these colors fulfill.
export function ringMet(s) {
  const c = ringContrast(s)
  return ringTasks.filter(t => t.met(c, s)).map(t => t.id)
}

// Where the ring is and where it is gone, in one sentence.
export function ringSays(s) {
  const c = ringContrast(s)
  const places = [...c.channels.map((v, k) => [`in ${ringNames[k]}`, v]), ['in gray', c.gray], ...ringKernels(s.own).map((k, i) => [`for ${k.name}`, c.kernels[i]])]
  const gone = places.filter(([, v]) => ringGone(v)).map(([name]) => name)
  return gone.length ? `The ring is gone ${gone.join(', ')}.` : 'The ring is seen everywhere.'
}
