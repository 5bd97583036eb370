// What this browser remembers: in its storage, or where that is refused (private windows, full), while the page is open.
export class Memory {
  #open;
  #here = new Map();

  // `open` gives the storage; even asking for it may be refused.
  constructor(open) { this.#open = open; }

  keep(name, value) {
    this.#here.set(name, value);
    this.#try(storage => storage.setItem(name, JSON.stringify(value)));
  }

  // What was kept, or null.
  recall(name) {
    return this.#here.get(name) ?? this.#try(storage => JSON.parse(storage.getItem(name)));
  }

  // Everything whose name begins so, but for one.
  forget(beginning, except = null) {
    const old = names => [...names].filter(name => name.startsWith(beginning) && name !== except);
    old(this.#here.keys()).forEach(name => this.#here.delete(name));
    this.#try(storage => old(Object.keys(storage)).forEach(name => storage.removeItem(name)));
  }

  #try(work) {
    try { return work(this.#open()); } catch { return null; }
  }
}
