// What comes on a filter, as it comes.
import { el, byId, put, often, save } from './dom.js';
import { clock, count, failure, gapText, preview } from './format.js';
import { Rows } from './rows.js';

const mostLines = 10000, mostStream = 16 << 20, mostPaused = 20000;
const weight = x => x.json?.length ?? 100;

export class Stream {
  #session; #choose; #sub; #rows; #draw;
  #lines = []; #found = []; #held = 0; #cut = 0; #skipped = 0; #gaps = 0;
  #paused = false; #later = []; #from; #search = ''; #gone = 0;

  constructor(session, choose) {
    this.#session = session;
    this.#choose = choose;
    this.#rows = new Rows(byId('stream'), { length: () => this.#found.length, make: () => this.#make(), paint: (row, i) => this.#paint(row, i), follows: true });
    this.#draw = often(150, () => this.#show());
    byId('stream-form').addEventListener('submit', e => {
      e.preventDefault();
      this.open(byId('stream-filter').value.trim());
    });
    byId('stream-pace').addEventListener('change', () => this.filter && this.#subscribe());
    byId('pause').addEventListener('click', () => this.pause(!this.#paused));
    byId('stream-clear').addEventListener('click', () => this.#empty());
    byId('stream-save').addEventListener('click', () => save(`stream-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.ndjson`, this.#lines.map(x => (x.json ?? JSON.stringify(x)) + '\n'), 'application/x-ndjson'));
    byId('stream-search').addEventListener('input', e => {
      this.#search = e.target.value.trim().toLowerCase();
      this.#found = this.#lines.filter(x => this.#matches(x));
      this.#rows.atEnd = true;
      this.#draw();
    });
    byId('stream').addEventListener('scroll', this.#draw, { passive: true });
    byId('stream').addEventListener('click', e => {
      const topic = e.target.closest('.line')?.line?.topic;
      if (topic !== undefined) this.#choose(topic);
    });
    session.onconnect(() => this.filter && this.open(this.filter));
  }

  filter = '';

  open(filter) {
    this.filter = filter;
    byId('stream-filter').value = filter;
    this.#empty();
    this.#paused = false;
    this.#subscribe();
  }

  #empty() {
    this.#lines = [];
    this.#found = [];
    this.#later = [];
    this.#held = this.#cut = this.#skipped = this.#gaps = this.#gone = 0;
    this.#rows.atEnd = true;
    this.#draw();
  }

  #subscribe(since) {
    this.#sub?.close();
    this.#from = undefined;
    if (!this.filter) return put(byId('stream-said'), 'Type a filter, such as pi/# or +/battery.');
    put(byId('stream-said'), '');
    const take = x => this.#take(x);
    this.#sub = this.#session.subscribe(this.filter, {
      since, minInterval: byId('stream-pace').value || undefined, onMessage: take, onGap: take,
      onError: e => put(byId('stream-said'), `The gateway refuses this filter: ${failure(e)}`),
    });
    this.#draw();
  }

  /** pause holds the list still. What comes meanwhile waits here; when that is
   * too much, it waits in the gateway's history, from where it is fetched. */
  pause(on) {
    this.#paused = on;
    if (!on) {
      const later = this.#later, from = this.#from;
      this.#later = [];
      for (const x of later) this.#keep(x);
      if (from) this.#subscribe(from);
    }
    this.#draw();
  }

  #take(x) {
    if (x.type === 'gap') this.#gaps++;
    if (x.skipped) this.#skipped += x.skipped;
    if (!this.#paused) this.#keep(x);
    else if (!this.#from) {
      this.#later.push(x);
      if (this.#later.length >= mostPaused && x.cursor) {
        this.#from = x.cursor;
        this.#sub.close();
      }
    }
    this.#draw();
  }

  #keep(x) {
    this.#lines.push(x);
    if (this.#matches(x)) this.#found.push(x);
    this.#held += weight(x);
    if (this.#lines.length <= mostLines && this.#held <= mostStream) return;
    // A tenth at once: few at a time would move the whole list with each message.
    let n = 0;
    while (n < this.#lines.length - 1 && (this.#lines.length - n > mostLines * 0.9 || this.#held > mostStream * 0.9)) this.#held -= weight(this.#lines[n++]);
    const gone = new Set(this.#lines.splice(0, n)), before = this.#found.length;
    this.#cut += n;
    this.#found = this.#found.filter(y => !gone.has(y));
    this.#gone += before - this.#found.length;
  }

  #matches(x) {
    const s = this.#search;
    return !s || (x.type === 'gap' ? gapText(x) : x.topic + ' ' + (x.encoding === 'base64' ? '' : x.json)).toLowerCase().includes(s);
  }

  #show() {
    const { atEnd } = this.#rows;
    if (!atEnd && this.#gone) this.#rows.shift(this.#gone);
    this.#gone = 0;
    this.#rows.draw();
    const waits = this.#later.length;
    put(byId('pause'), this.#paused ? 'Go on' : 'Pause');
    byId('pause').setAttribute('aria-pressed', String(this.#paused));
    const facts = [
      this.#paused && (this.#from ? `paused; ${count(waits)} wait here, and the rest in the gateway's history` : `paused; ${count(waits)} wait`),
      `${count(this.#lines.length)} kept` + (this.#search ? `, ${count(this.#found.length)} found` : ''),
      this.#cut && `${count(this.#cut)} older ones are not kept`,
      this.#skipped && `${count(this.#skipped)} skipped by the gateway`,
      this.#gaps && `${count(this.#gaps)} ${this.#gaps === 1 ? 'gap' : 'gaps'}`,
      !atEnd && 'scroll to the end to follow',
    ];
    put(byId('stream-facts'), facts.filter(Boolean).join(' · '));
  }

  #make() {
    const part = name => el('span', { class: name });
    return el('div', { class: 'line', role: 'listitem' }, part('time'), part('topic'), part('value'), part('flags'));
  }

  #paint(row, i) {
    const x = this.#found[i], [time, topic, value, flags] = row.children, isGap = x.type === 'gap';
    row.line = x;
    row.className = isGap ? 'line gap' : 'line';
    put(time, isGap ? 'gap' : clock(x.time));
    put(topic, isGap ? '' : x.topic);
    put(value, isGap ? gapText(x) : preview(x, 300));
    put(flags, isGap ? '' : [x.retain && 'retained', x.skipped && `${count(x.skipped)} skipped`].filter(Boolean).join(', '));
  }
}
