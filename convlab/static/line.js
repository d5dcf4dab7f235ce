// What a notebook runs as soon as Python has made a widget, before anything is shown: it lets the pieces on the page find the model.
export default {
  initialize({ model }) {
    (globalThis.convlabLines ??= new Map()).set(model.get('piece_id'), model)
    globalThis.dispatchEvent(new Event('convlab-line'))
  },
}
