// Where the windows of a convolution lie, and which channels meet: the arithmetic of StrideLab. It knows nothing of the page.

// One axis: pixels n, kernel ks, stride, padding on each side, dilation. `out` is how many windows fit, 0 if none does.
export function strideAxis({ n, ks, stride, padding, dilation }) {
  const span = dilation * (ks - 1) + 1, padded = n + 2 * padding
  const room = padded - span
  return { n, ks, stride, padding, dilation, span, padded, left: room < 0 ? 0 : room % stride,
           out: room < 0 ? 0 : Math.floor(room / stride) + 1 }
}

// The pixels that window i looks at, counted from the first real pixel: below 0, or from n on, they are padding.
export function strideTaps(axis, i) {
  return Array.from({ length: axis.ks }, (_, a) => i * axis.stride - axis.padding + a * axis.dilation)
}

// How many windows look at each pixel of the axis.
export function strideLooks(axis) {
  const looks = new Array(axis.n).fill(0)
  for (let i = 0; i < axis.out; i++) for (const p of strideTaps(axis, i)) if (p >= 0 && p < axis.n) looks[p]++
  return looks
}

// The input channels that output channel f sees; groups must divide both numbers of channels.
export function strideSees(f, { channels_in, channels_out, groups }) {
  const each = channels_in / groups, group = Math.floor(f / (channels_out / groups))
  return Array.from({ length: each }, (_, k) => group * each + k)
}

// Do the groups share all channels evenly?
export function strideShared({ channels_in, channels_out, groups }) { return channels_in % groups === 0 && channels_out % groups === 0 }

export function strideWeights({ ks, channels_in, channels_out, groups }) { return channels_out * (channels_in / groups) * ks * ks }

// Why PyTorch would refuse, in words; '' if it would not.
export function strideProblem(s) {
  const a = strideAxis(s), why = []
  const holes = s.dilation > 1 ? ` with dilation ${s.dilation} spans ${a.span} pixels` : ` by ${s.ks}`
  if (!a.out) why.push(`The kernel is larger than the padded picture: ${s.ks}${holes}, and with its padding the picture has only ${a.padded}.`)
  if (!strideShared(s)) why.push(`${s.groups} groups cannot share ${s.channels_in} input and ${s.channels_out} output channels evenly: groups must divide both.`)
  return why.join(' ')
}

// The formula with its numbers, and each step toward the result.
export function strideFormula(s) {
  const a = strideAxis(s), room = a.padded - a.span
  return { span: `${s.dilation} · (${s.ks} − 1) + 1 = ${a.span}`, top: `${s.n} + 2 · ${s.padding} − ${a.span}`, room, stride: s.stride,
           exact: +(room / s.stride).toFixed(2), floored: Math.floor(room / s.stride), out: a.out }
}

// The line of PyTorch that makes this layer; what stands at its default is left out.
export function strideLine(s) {
  const given = [['stride', 1], ['padding', 0], ['dilation', 1], ['groups', 1]].filter(([k, d]) => s[k] !== d).map(([k]) => `, ${k}=${s[k]}`)
  return `nn.Conv2d(${s.channels_in}, ${s.channels_out}, kernel_size=${s.ks}${given.join('')})`
}

export const strideTasks = [
  { id: 'keep', text: 'Keep the size of the picture with a 5 by 5 kernel.',
    met: (s, a) => s.ks === 5 && a.out === s.n, said: 'Padding of ks//2 keeps the size when ks is odd.' },
  { id: 'halve', text: 'Make 4 by 4 of 8 by 8 with a 3 by 3 kernel that skips no pixel.',
    met: (s, a, looks) => s.n === 8 && s.ks === 3 && a.out === 4 && !looks.includes(0),
    said: 'Stride 2 with a ring of padding: the usual way to halve a picture.' },
  { id: 'skip', text: 'Without dilation, skip pixels between the windows.',
    met: (s, a, looks) => s.dilation === 1 && looks.slice(looks.findIndex(v => v), looks.findLastIndex(v => v)).includes(0),
    said: 'A stride longer than the kernel jumps over pixels.' },
  { id: 'far', text: 'Let nine weights span 7 by 7 pixels.',
    met: (s, a) => s.ks === 3 && a.span === 7, said: 'Dilation 3: nine weights in place of 49.' },
  { id: 'tiles', text: 'Let every pixel be looked at exactly once, by a kernel larger than 1 by 1.',
    met: (s, a, looks) => s.ks > 1 && looks.every(v => v === 1),
    said: 'Windows side by side, like tiles: so most pooling is done.' },
  { id: 'alone', text: 'Give each of several channels a kernel of its own.',
    met: s => s.groups > 1 && s.groups === s.channels_in && s.channels_out === s.channels_in,
    said: 'As many groups as channels: a depthwise convolution.' },
]

// The tasks that these settings fulfill.
export function strideMet(s) {
  if (strideProblem(s)) return []
  const a = strideAxis(s), looks = strideLooks(a)
  return strideTasks.filter(t => t.met(s, a, looks)).map(t => t.id)
}
