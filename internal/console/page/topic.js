// One topic: its value in all views, what changed, a chart, and what came before.
import { el, byId, put, show, button, often, copy } from './dom.js';
import { age, base, climbs, clock, count, failure, gapText, pathOf, preview, quoted, received, size, sizeOf } from './format.js';
import { Rows } from './rows.js';
import { viewsOf, view } from './values.js';
import { changes, showChanges } from './diff.js';
import { Chart, fieldsOf, fieldOf } from './chart.js';

const mostEntries = 1000, mostHeld = 8 << 20;

const names = { image: 'Image', decoded: 'Decoded', json: 'JSON', text: 'Text', hex: 'Hex' };
const meaning = m => (m.value !== undefined ? m.value : m.encoding === 'base64' ? undefined : m.payload);

// propertiesOf is what MQTT 5 says about a message, in a line.
function propertiesOf(m) {
  const user = Object.entries(m.user_properties ?? {}).flatMap(([name, v]) => [v].flat().map(x => `${name}=${x}`));
  return [m.expiry && `expires after ${m.expiry}`, m.response_topic && `answers go to ${m.response_topic}`, m.correlation && `correlation ${m.correlation}`, ...user].filter(Boolean).join(' · ');
}

export class TopicPanel {
  topic;
  #session; #sub; #entries = []; #held = 0; #cut = 0; #added = 0; #pinned; #newest; #view; #shown; #folds = new Map(); #field; #chart; #rows; #round = 0;

  constructor(session) {
    this.#session = session;
    this.#chart = new Chart(byId('chart'), byId('chart-words'));
    this.#rows = new Rows(byId('history'), { length: () => this.#entries.length, make: () => this.#make(), paint: (row, i) => this.#paint(row, i) });
    this.draw = often(250, () => this.#draw());
    byId('history').addEventListener('click', e => this.#pin(e.target.closest('.entry')?.entry));
    byId('history').addEventListener('keydown', e => this.#key(e));
    byId('newest').addEventListener('click', () => this.#pin());
    byId('chart-field').addEventListener('change', e => this.#plot(e.target.value));
    byId('copy-curl').addEventListener('click', () => copy(`${session.curl}${climbs(this.topic) ? '--path-as-is ' : ''}${quoted(base + pathOf(this.topic))}`, what => put(byId('topic-said'), `The curl command is ${what}.`)));
    byId('clear').addEventListener('click', () => {
      put(byId('clear-topic'), this.topic);
      byId('clear-dialog').showModal();
    });
    byId('clear-confirm').addEventListener('click', () => this.#clear());
    session.onconnect(() => this.topic !== undefined && this.open(this.topic));
  }

  /** open shows a topic: what the history has of it, asked for when it is
   * subscribed so that nothing falls in between, and what comes. */
  open(topic) {
    this.#sub?.close();
    this.topic = topic;
    this.#entries = [];
    this.#held = this.#cut = this.#added = 0;
    this.#pinned = this.#newest = this.#shown = this.#view = undefined;
    this.#field = undefined;
    this.#folds.clear();
    this.#chart.clear();
    put(byId('topic-said'), '');
    byId('history').scrollTop = 0;
    show(byId('topic-none'), false);
    show(byId('topic-some'), true);
    put(byId('topic-name'), topic);
    const round = ++this.#round;
    let early = [];
    const take = x => (early ? early.push(x) : this.#take(x));
    const onReady = async () => {
      if (!early || early.asked) return; // it has come back after a cut
      early.asked = true;
      const past = await this.#past(topic), known = new Set(past.map(m => m.cursor)), waiting = early;
      if (round !== this.#round) return;
      early = undefined;
      for (const x of past) this.#take(x);
      for (const x of waiting) if (!x.cursor || !known.has(x.cursor)) this.#take(x);
      this.draw();
    };
    const onError = e => put(byId('topic-said'), `This topic cannot be read: ${failure(e)}`);
    this.#sub = this.#session.subscribe(topic, { snapshot: true, onMessage: take, onGap: take, onReady, onError });
    this.draw();
  }

  // The last minutes of the topic, as far as the gateway's history has them.
  async #past(topic) {
    try {
      const res = await this.#session.gw.fetch('history?limit=10000&since=10m&filter=' + encodeURIComponent(topic), { headers: { Accept: 'application/x-ndjson' } });
      return (await res.text()).split('\n').filter(Boolean).slice(-mostEntries).map(received).filter(x => x.type === 'message');
    } catch {
      return []; // it goes on without
    }
  }

  #take(x) {
    if (x.type === 'message') {
      if (!x.cursor && this.#newest?.time >= x.time) return; // a copy of what is there
      this.#newest = x;
    }
    this.#entries.push(x);
    this.#held += x.json?.length ?? 100;
    this.#added++;
    while (this.#entries.length > mostEntries || (this.#held > mostHeld && this.#entries.length > 2)) {
      this.#held -= this.#entries.shift().json?.length ?? 100;
      this.#cut++;
    }
    if (this.#field !== undefined) this.#chart.add(Date.parse(x.time ?? new Date()), x.type === 'message' ? fieldOf(meaning(x), this.#field) : undefined);
    this.draw();
  }

  #draw() {
    if (this.topic === undefined) return;
    const m = this.#pinned ?? this.#newest;
    put(byId('topic-meta'), m ? this.#meta(m) : 'Nothing was seen on this topic yet.');
    const properties = m ? propertiesOf(m) : '';
    put(byId('topic-properties'), properties);
    show(byId('topic-properties'), !!properties);
    show(byId('newest'), !!this.#pinned);
    show(byId('value-part'), !!m);
    if (m) this.#drawValue(m);
    this.#drawFields(m ? fieldsOf(meaning(this.#newest)) : []);
    const box = byId('history');
    const added = Math.min(this.#added, this.#entries.length);
    this.#rows.measure();
    if (added && box.scrollTop > 0) this.#rows.shift(-added);
    this.#added = 0;
    this.#rows.draw();
    put(byId('history-size'), `${count(this.#entries.length)} kept here` + (this.#cut ? `; ${count(this.#cut)} older ones are not` : ''));
  }

  #meta(m) {
    const when = m.retain ? `retained, read at ${clock(m.time)}` : `${clock(m.time)} (${age(Date.now() - Date.parse(m.time))} ago)`;
    return [when, `QoS ${m.qos}`, size(sizeOf(m)), m.encoding, m.content_type, m.skipped && `${count(m.skipped)} skipped`].filter(Boolean).join(' · ');
  }

  #drawValue(m) {
    const views = viewsOf(m);
    const name = views.includes(this.#view) ? this.#view : views[0];
    if (this.#shown === m && byId('views').dataset.name === name) return;
    const selection = getSelection();
    if (!selection.isCollapsed && byId('value').contains(selection.anchorNode) && this.#shown && this.#view === name) return; // somebody marks something
    this.#shown = m;
    byId('views').dataset.name = name;
    byId('views').replaceChildren(...views.map(v => button(names[v], () => this.#look(v), { 'aria-pressed': String(v === name), 'data-view': v })));
    byId('value').replaceChildren(view(name, m, this.#folds));
    const messages = this.#entries.filter(x => x.type === 'message'), at = messages.indexOf(m);
    byId('changes').replaceChildren(at > 0 ? showChanges(changes(messages[at - 1], m)) : el('p', { class: 'note', text: 'There is no message before it here.' }));
  }

  #look(name) {
    this.#view = name;
    byId('views').dataset.name = '';
    this.#draw();
    byId('views').querySelector('[aria-pressed=true]').focus();
  }

  // The first number there is becomes the chart's, and stays it.
  #drawFields(fields) {
    if (this.#field === undefined && fields.length) this.#plot(fields[0]);
    show(byId('chart-part'), this.#field !== undefined);
    if (this.#field === undefined) return;
    const select = byId('chart-field'), all = fields.includes(this.#field) ? fields : [this.#field, ...fields], key = JSON.stringify(all);
    if (select.dataset.key !== key) {
      select.dataset.key = key;
      select.replaceChildren(...all.map(f => el('option', { value: f, text: f === '' ? 'the value' : f })));
    }
    if (select.value !== this.#field) select.value = this.#field;
    this.#chart.draw();
  }

  #plot(field) {
    this.#field = field;
    this.#chart.clear();
    for (const x of this.#entries) this.#chart.add(Date.parse(x.time ?? 0), x.type === 'message' ? fieldOf(meaning(x), field) : undefined);
    this.#chart.draw();
  }

  #make() {
    const part = name => el('span', { class: name, role: 'cell' });
    return el('div', { class: 'entry', role: 'row' }, part('time'), part('value'), part('flags'), part('size'));
  }

  #paint(row, i) {
    const x = this.#entries[this.#entries.length - 1 - i], [time, value, flags, bytes] = row.children;
    row.entry = x;
    row.className = 'entry' + (x.type === 'gap' ? ' gap' : '') + (x === this.#pinned ? ' selected' : '');
    row.setAttribute('aria-selected', String(x === this.#pinned));
    if (x.type === 'gap') {
      put(time, 'gap');
      put(value, gapText(x));
      put(flags, '');
      put(bytes, '');
      return;
    }
    put(time, clock(x.time));
    put(value, preview(x));
    put(flags, [`QoS ${x.qos}`, x.retain && 'retained', x.skipped && `+${count(x.skipped)} skipped`].filter(Boolean).join(', '));
    put(bytes, size(sizeOf(x)));
  }

  #pin(entry) {
    if (entry && entry.type !== 'message') return;
    this.#pinned = entry === this.#pinned ? undefined : entry;
    this.#draw();
  }

  // Up and down walk through the history, Escape goes back to the newest.
  #key(e) {
    const messages = this.#entries.filter(x => x.type === 'message'), at = this.#pinned ? messages.indexOf(this.#pinned) : messages.length;
    const to = { ArrowDown: at - 1, ArrowUp: at + 1, Escape: messages.length }[e.key];
    if (to === undefined || !messages.length) return;
    e.preventDefault();
    this.#pinned = messages[Math.max(0, to)];
    if (this.#pinned) this.#rows.reveal(this.#entries.length - 1 - this.#entries.indexOf(this.#pinned));
    this.#draw();
  }

  async #clear() {
    byId('clear-dialog').close();
    const topic = this.topic, said = byId('topic-said');
    if (climbs(topic)) return put(said, 'Not cleared: a browser cannot ask for a topic with a level . or .. in it; use another client.');
    put(said, 'Clearing …');
    try {
      await this.#session.gw.fetch(pathOf(topic), { method: 'DELETE' });
      put(said, 'Cleared: the broker keeps no message of this topic any more.');
    } catch (e) {
      put(said, `Not cleared: ${failure(e)}`);
    }
  }
}
