// Which devices are at the broker, and which topics have gone quiet.
import { el, byId, put, show, often } from './dom.js';
import { addressOf, age, byName, clock, count, failure } from './format.js';
import { Rows } from './rows.js';

const mostDevices = 100000, mostSilent = 1000, words = { online: 'ok', offline: 'bad', unknown: 'warn' };

const ago = t => (t ? age(Date.now() - Date.parse(t)) : '');

// factsOf is what is known of a device besides its state.
const factsOf = d => [ago(d.since) && `for ${ago(d.since)}`, d.reason.replaceAll('_', ' '), `said by ${{ log: 'the broker’s log', will: 'its topic', seen: 'no one; it was seen' }[d.source] ?? d.source}`, ago(d.last_seen) && `last seen ${ago(d.last_seen)} ago`];

// A stream of lines is read while the page shows this; the gateway sends all
// that it knows first, then what changes.
export class Devices {
  #session; #rows; #draw; #stop; #timer; #attempts = 0; #wanted = false; #complete = false;
  #all = new Map(); #silent = new Map(); #found = []; #dirty = true; #forgotten = 0; #said = ''; #at = -1; #fresh;

  constructor(session) {
    this.#session = session;
    this.#rows = new Rows(byId('devices'), { length: () => this.#found.length, make: () => this.#make(), paint: (row, i) => this.#paint(row, i) });
    this.#draw = often(250, () => this.#show());
    const changed = () => {
      this.#dirty = true;
      this.#draw();
    };
    byId('devices-filter').addEventListener('input', changed);
    byId('devices-state').addEventListener('change', changed);
    byId('devices').addEventListener('keydown', e => this.#key(e));
    byId('devices').addEventListener('click', e => this.#choose(this.#found.findIndex(d => d.id === e.target.closest('.device')?.dataset.device)));
    document.addEventListener('visibilitychange', () => this.#follow());
    session.onconnect(() => {
      this.#hangUp();
      this.#follow();
    });
  }

  /** watch begins or ends it: only a page that is looked at needs the stream. */
  watch(on) {
    if (this.#wanted === on) return;
    this.#wanted = on;
    this.#follow();
    this.#draw();
  }

  tick() {
    if (this.#wanted) this.#draw();
  }

  #follow() {
    if (!this.#wanted || document.hidden) return this.#hangUp();
    if (!this.#stop && this.#timer === undefined) this.#read();
  }

  #hangUp() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stop?.abort();
    this.#stop = undefined;
  }

  async #read() {
    const stop = (this.#stop = new AbortController());
    let said = 'The stream of devices has ended.';
    try {
      const res = await this.#session.gw.fetch('events?devices=true&snapshot=true&format=ndjson', { signal: stop.signal });
      this.#fresh = { all: new Map(), silent: new Map(), forgotten: 0 };
      const lines = res.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = '';;) {
        const { value, done } = await lines.read();
        if (done) break;
        const parts = (rest + value).split('\n');
        rest = parts.pop();
        for (const line of parts) if (line.trim()) this.#take(JSON.parse(line));
      }
    } catch (e) {
      if (e.status >= 400 && e.status < 500) {
        said = `You may not read this: ${failure(e)}`;
        this.#attempts = 6;
      } else said = 'The gateway cannot be reached; what you see may be old.';
    }
    if (stop !== this.#stop) return;
    this.#stop = undefined;
    this.#complete = false;
    this.#said = said;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#follow();
    }, Math.random() * Math.min(20000, 500 * 2 ** this.#attempts++));
    this.#draw();
  }

  // What is shown stays until all of the new state has come.
  #take(x) {
    const f = this.#fresh, all = f ? f.all : this.#all, silent = f ? f.silent : this.#silent;
    if (x.type === 'device') {
      if (all.size < mostDevices || all.has(x.id)) all.set(x.id, x);
    } else if (x.type === 'silent') {
      if (silent.size < mostSilent) silent.set(x.topic, x);
    } else if (x.type === 'back') silent.delete(x.topic);
    else if (x.type === 'forgotten') f ? (f.forgotten += x.count) : (this.#forgotten += x.count);
    else if (x.type === 'snapshot_end' && f) {
      [this.#all, this.#silent, this.#forgotten, this.#fresh] = [f.all, f.silent, f.forgotten, undefined];
      this.#complete = true;
      this.#attempts = 0;
      this.#said = '';
    } else return;
    this.#dirty = true;
    this.#draw();
  }

  #show() {
    if (!this.#wanted) return;
    const text = byId('devices-filter').value.trim().toLowerCase(), state = byId('devices-state').value;
    if (this.#dirty) {
      this.#dirty = false;
      const at = this.#found[this.#at]?.id;
      this.#found = [...this.#all.values()].filter(d => (!state || d.state === state) && (!text || `${d.id} ${d.address ?? ''} ${d.reason}`.toLowerCase().includes(text)));
      this.#found.sort((a, b) => byName.compare(a.id, b.id));
      this.#at = this.#found.findIndex(d => d.id === at);
      const silent = [...this.#silent.values()].sort((a, b) => (a.since < b.since ? -1 : 1));
      show(byId('silent-part'), silent.length > 0);
      byId('silent').replaceChildren(...silent.slice(0, 50).map(s => el('li', {}, el('a', { href: addressOf(s.topic), text: s.topic }), ` since ${clock(s.since, false)}`)));
      put(byId('silent-more'), silent.length > 50 ? `and ${count(silent.length - 50)} more` : '');
    }
    show(byId('devices-empty'), this.#complete && !this.#all.size);
    show(byId('devices-none'), this.#all.size > 0 && !this.#found.length);
    show(document.querySelector('.device-columns'), this.#found.length > 0);
    const of = s => [...this.#all.values()].reduce((n, d) => n + (d.state === s), 0);
    put(byId('devices-facts'), this.#all.size ? ['online', 'offline', 'unknown'].map(s => `${count(of(s))} ${s}`).join(' · ') + (this.#forgotten ? ` · ${count(this.#forgotten)} more were forgotten; the gateway knows no more at once` : '') : '');
    put(byId('devices-said'), this.#said);
    const d = this.#found[this.#at];
    put(byId('devices-chosen'), d ? [`${d.id} is ${d.state}`, ...factsOf(d), d.address && `at ${d.address}`].filter(Boolean).join(' · ') : '');
    this.#rows.measure();
    this.#rows.draw();
  }

  #key(e) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: this.#rows.page, PageUp: -this.#rows.page, Home: -this.#found.length, End: this.#found.length }[e.key];
    if (!step || !this.#found.length) return;
    e.preventDefault();
    this.#choose(Math.min(Math.max(this.#at + step, 0), this.#found.length - 1));
    this.#rows.reveal(this.#at);
  }

  #choose(i) {
    this.#at = i;
    this.#show();
  }

  #make() {
    const cell = name => el('span', { class: name, role: 'cell' });
    return el('div', { class: 'device', role: 'row', 'data-testid': 'device' }, cell('state'), cell('id'), cell('since'), cell('address'), cell('reason'));
  }

  #paint(row, i) {
    const d = this.#found[i], [state, id, since, address, reason] = row.children;
    row.dataset.device = d.id;
    row.dataset.kind = words[d.state];
    row.classList.toggle('at', i === this.#at);
    if (i === this.#at) byId('devices').setAttribute('aria-activedescendant', (row.id = 'device-at'));
    else row.removeAttribute('id');
    put(state, d.state);
    put(id, d.id);
    put(since, ago(d.since));
    put(address, d.address ?? '');
    put(reason, d.reason.replaceAll('_', ' '));
  }
}
