// Where a piece lives: on a page of its own, in a saved notebook, and beside a kernel. Every output holds this file.

// The state of a piece, with anywidget's interface. It follows the model in the kernel once there is one.
export class LiveModel {
  constructor(state) { Object.assign(this, { state, line: null, listeners: new Map(), changed: new Set() }) }
  get(name) { return this.state[name] }
  set(name, value) {
    this.state[name] = value
    this.changed.add(name)
    this.emit(`change:${name}`)
  }
  save_changes() {
    for (const name of this.changed) this.line?.set(name, this.state[name])
    this.line?.save_changes()
    this.changed.clear()
    this.emit('saved')
  }
  on(event, listener) { this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]) }
  off(event, listener) { this.listeners.set(event, this.listeners.get(event).filter(f => f !== listener)) }
  emit(event) { for (const listener of this.listeners.get(event) ?? []) listener() }
  // From now on Python and the page have one state. Python's is the truth.
  join(line) {
    this.line = line
    for (const name of Object.keys(this.state)) {
      const follow = () => {
        const value = line.get(name)
        if (value === this.state[name]) return
        this.state[name] = value
        this.emit(`change:${name}`)
        this.emit('saved')
      }
      line.on(`change:${name}`, follow)
      if (JSON.stringify(line.get(name)) !== JSON.stringify(this.state[name])) follow()
    }
  }
}

// Build `piece` in place of its still picture. The place is around the script that is running; VS Code runs a copy of the script
// elsewhere, and there it is the first place that still has its script. It names the model in the kernel, if there was one.
export function mountPiece(piece, state) {
  const place = document.currentScript?.closest('.convlab-place') ?? document.querySelector('.convlab-place:has(> script)')
  const id = place.dataset.piece, pieces = globalThis.convlabPieces ??= new Map()
  const siblings = pieces.get(id) ?? [], before = siblings.find(o => !o.root.isConnected)
  if (before) { // the notebook stored its output anew: the same piece lives on, focus and all
    place.replaceChildren(before.root)
    if (document.activeElement === document.body) before.focused?.focus({ preventScroll: true })
    return
  }
  const root = document.createElement('div'), model = new LiveModel(state), entry = { root, focused: null }, still = [...place.childNodes]
  place.replaceChildren(root)
  piece.render({ model, el: root, still })
  if (!id) return
  pieces.set(id, [...siblings, entry])
  let timer = null
  const store = () => { // ask Python to store the output with the state as it is now, but not under a pressed finger
    clearTimeout(timer)
    if (model.line) timer = setTimeout(() => {
      if (root.matches(':active')) return store()
      entry.focused = root.contains(document.activeElement) ? document.activeElement : null
      try { model.line.send({ store: true }) } catch { // its kernel was restarted, and the page goes on alone
        model.line = null
        root.append('Python has lost this piece. Run its cell again to go on with it.')
      }
    }, 700)
  }
  model.on('saved', store)
  const lines = globalThis.convlabLines ??= new Map()
  const join = () => {
    if (!lines.has(id)) return
    globalThis.removeEventListener('convlab-line', join)
    model.join(lines.get(id))
  }
  globalThis.addEventListener('convlab-line', join)
  join()
}
