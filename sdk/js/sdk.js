// Vulture Gateway for browsers, Node 22, Deno and Bun: one WebSocket that comes back by itself.

export class GatewayError extends Error {
  constructor(p) {
    super(p.detail || p.code);
    Object.assign(this, { status: 0, retryable: false }, p, { name: 'GatewayError' });
  }
}

export const connect = options => new Gateway(options);

export function matches(filter, topic) {
  const want = filter.split('/'), has = topic.split('/');
  if (topic[0] === '$' && /^[+#]/.test(filter)) return false;
  for (let i = 0; i < want.length; i++) {
    if (want[i] === '#') return true;
    if (i >= has.length || (want[i] !== '+' && want[i] !== has[i])) return false;
  }
  return want.length === has.length;
}

const notSent = detail => new GatewayError({ status: 503, code: 'not_connected', retryable: true, detail: detail + ' Nothing was sent.' });
const unknown = () => new GatewayError({ status: 504, code: 'outcome_unknown', detail: 'The connection ended before the answer.' });
const value = v => (typeof v === 'function' ? v() : v);

function tell(f, x) {
  try { f?.(x); } catch (e) { (globalThis.reportError || console.error)(e); }
}

// message gives bytes as Uint8Array, and keeps its own text.
function message(m, text = JSON.stringify(m)) {
  if (m.encoding === 'base64') {
    const s = atob(m.payload), bytes = (m.payload = new Uint8Array(s.length));
    for (let i = 0; i < s.length; i++) bytes[i] = s.charCodeAt(i);
  }
  return Object.defineProperty(m, 'json', { value: text });
}

function fields(topic, payload, o) {
  if (payload === undefined) throw new GatewayError({ status: 400, code: 'invalid_payload', detail: 'There is no payload.' });
  if (payload instanceof ArrayBuffer) payload = new Uint8Array(payload);
  let encoding = o.encoding;
  if (ArrayBuffer.isView(payload)) {
    encoding = 'base64';
    const bytes = new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
    payload = '';
    for (let i = 0; i < bytes.length; i += 8192) payload += String.fromCharCode(...bytes.subarray(i, i + 8192));
    payload = btoa(payload);
  }
  return {
    topic, payload, encoding, qos: o.qos, retain: o.retain, content_type: o.contentType, expiry: o.expiry,
    response_topic: o.responseTopic, correlation: o.correlation, user_properties: o.userProperties,
  };
}

class Gateway {
  onstate; onbroker; onerror;
  state = 'connecting';
  limits = {};
  #o; #http; #ws; #redial; #cursor;
  #ready = false;
  #life = 0; #attempts = 0; #lastId = 0; #since = 0; #heard = false;
  #timers = new Set();
  #answers = new Map();
  #queue = [];
  #ends = new Set();
  #subs = new Set();
  #wire = new Map(); // filters in force, and their options
  #ops = []; // under way; the gateway answers in this order
  #first; // op of a join, until another one is acknowledged

  constructor(options = {}) {
    this.#o = { WebSocket: globalThis.WebSocket, heartbeat: 15000, ...options };
    if (!this.#o.WebSocket) throw new TypeError('Give connect a WebSocket.');
    const u = (this.#http = new URL(this.#o.url || './', this.#o.url ? globalThis.location?.href : import.meta.url));
    u.protocol = u.protocol.replace('ws', 'http');
    u.pathname = u.pathname.replace(/\/(ws)?$/, '') + '/';
    this.#listen('addEventListener');
    queueMicrotask(() => this.#dial());
  }

  #listen(how) {
    globalThis[how]?.('online', this.wake);
    globalThis.document?.[how]('visibilitychange', this.wake);
  }

  #after(ms, f) {
    const t = setTimeout(() => (this.#timers.delete(t), f()), ms);
    this.#timers.add(t);
    return () => (clearTimeout(t), this.#timers.delete(t));
  }

  #say(state, reason) {
    this.state = state;
    tell(this.onstate, { state, reason });
  }

  get #hidden() { return this.#o.pauseWhenHidden && globalThis.document?.hidden; }

  wake = () => {
    if (this.state === 'waiting' && !this.#hidden) this.#dial();
  };

  async #dial() {
    if (this.state === 'closed') return;
    this.#redial?.();
    const life = ++this.#life, lost = (code, reason) => life === this.#life && this.#lost(code, reason);
    this.#since = performance.now();
    this.#heard = true;
    this.#beat(life);
    this.#say('connecting');
    try {
      const url = new URL('ws', this.#http), ticket = await value(this.#o.ticket), token = !ticket && (await value(this.#o.token));
      url.protocol = url.protocol.replace('http', 'ws');
      if (ticket) url.searchParams.set('ticket', ticket);
      if (life !== this.#life) return;
      const ws = (this.#ws = new this.#o.WebSocket(url.href, 'gateway.v1'));
      ws.onclose = e => lost(e.code, e.reason);
      ws.onerror = () => this.#after(99, () => lost(1006)); // undici before 7 has no close then
      ws.onmessage = e => {
        if (life !== this.#life) return;
        this.#heard = true;
        const f = JSON.parse(e.data);
        if (f.type === 'welcome') this.#greeted(f, token);
        else this.#receive(f, e.data);
      };
    } catch (e) {
      lost(0, e.message);
    }
  }

  // A socket that gives no pong is given up.
  #beat(life) {
    this.#after(this.#o.heartbeat, () => {
      if (life !== this.#life) return;
      if (this.#ws?.readyState !== 1 || !this.#heard) return this.#lost(0, 'nothing comes any more');
      this.#heard = false;
      this.#send({ op: 'ping' });
      this.#beat(life);
    });
  }

  #lost(code, reason) {
    this.#hangUp();
    for (const s of this.#subs) this.#rest(s, this.#cursor);
    if (/^(100[23789]|4[5-9]..)$/.test(code)) return this.#end(reason || `closed with ${code}`);
    if (performance.now() - this.#since > 5000) this.#attempts = 0;
    this.#redial = this.#after(Math.random() * Math.min(20000, 500 * 2 ** this.#attempts++), () => this.#hidden || this.#dial());
    this.#say('waiting', reason || (code && code !== 1006 ? `closed with ${code}` : 'no connection'));
  }

  #hangUp() {
    const ws = this.#ws;
    this.#life++;
    this.#ready = false;
    this.#ws = undefined;
    if (ws) {
      ws.onclose = ws.onmessage = null;
      ws.onerror = () => {};
      ws.close();
    }
    for (const a of this.#answers.values()) a.reject(unknown());
    this.#answers.clear();
  }

  #send(op) { this.#ws.send(JSON.stringify(op)); }

  #ask(op) {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#answers.set(id, { resolve, reject });
      this.#send({ ...op, id });
    });
  }

  async #greeted({ limits, epoch }, token) {
    const life = this.#life;
    Object.assign(this, { limits, epoch });
    tell(this.onbroker, { connected: true });
    try {
      if (token) await this.#auth(token);
    } catch (e) {
      if (life === this.#life) e.retryable ? this.#lost(0, e.detail) : this.#end(e.detail);
    }
    if (life !== this.#life) return;
    this.#ready = true;
    this.#wire.clear();
    this.#ops = [];
    this.#say('open');
    for (const go of this.#queue.splice(0)) go();
    this.#next();
  }

  async #auth(token) {
    const life = this.#life, { expires } = await this.#ask({ op: 'auth', token });
    if (!expires || typeof this.#o.token !== 'function') return;
    this.#after(Math.min(Math.max(1000, Date.parse(expires) - Date.now() - 30000), 2e9), async () => {
      if (life === this.#life) this.#auth(await this.#o.token()).catch(e => tell(this.onerror, e));
    });
  }

  // A subscription is live while its filters are in force, and settled once it
  // has had what comes before the live messages; at is where it resumes.

  #next() {
    if (!this.#ready || this.#ops.length) return;
    const waiting = [...this.#subs].filter(s => !s.live), filters = [...this.#wire.keys()];
    const cannot = s => s.at || s.filters.some(f => this.#wire.has(f) && this.#wire.get(f) + '' !== this.#options(f) + '');
    if (filters.length && waiting.some(cannot)) return this.#part(filters); // and join again, all together
    if (waiting.length) return this.#join(waiting);
    const unused = filters.filter(f => ![...this.#subs].some(s => s.filters.includes(f)));
    if (unused.length) this.#part(unused);
  }

  // options are those that serve all who want a filter: where they differ, none.
  #options(filter) {
    const all = [...this.#subs].filter(s => s.filters.includes(filter)).map(s => s.options);
    return ['minInterval', 'overflow'].map(k => (all.every(o => o[k] === all[0][k]) ? all[0][k] : undefined));
  }

  #part(topics) {
    const id = ++this.#lastId;
    this.#ops.push({ id, topics });
    this.#send({ op: 'unsubscribe', id, topics });
  }

  // One that is behind, those who resume together, those who are new.
  #join(waiting) {
    const behind = waiting.find(s => s.at && !s.settled), resuming = waiting.filter(s => s.at && s.settled);
    const asked = (behind ? this.#subscribe([behind], behind.at) : 0) + (resuming.length ? this.#subscribe(resuming, resuming[0].at) : 0);
    for (const s of waiting) {
      if (!s.at) this.#subscribe([s]);
      s.got = s.at && asked > 1 ? new Set() : undefined;
    }
    this.#first = this.#ops[0];
  }

  #subscribe(subs, since) {
    const filters = subs.flatMap(s => s.filters), id = ++this.#lastId, groups = new Map();
    const op = { id, subs, since, shared: filters.filter(f => this.#wire.has(f)) };
    for (const f of filters) {
      if (this.#wire.has(f)) continue;
      this.#wire.set(f, this.#options(f));
      const key = this.#wire.get(f) + '';
      groups.set(key, [...(groups.get(key) || []), f]);
    }
    for (const topics of groups.values()) {
      const [min_interval, overflow] = this.#wire.get(topics[0]);
      this.#send({ op: 'subscribe', id, topics, since, snapshot: subs.some(s => s.options.snapshot), overflow, min_interval });
    }
    this.#send({ op: 'ping', id }); // answered behind all that comes before the live messages
    this.#ops.push(op);
    return groups.size;
  }

  #rest(s, cursor) {
    if (s.settled && (s.live || !s.at)) s.at = cursor;
    s.live = false;
  }

  #acked(f) {
    const op = this.#ops[0];
    if (op?.id !== f.id) return this.#answer(f);
    if (op !== this.#first || op.acked) this.#first = undefined;
    op.acked = true;
    this.#cursor = f.cursor;
    if (op.topics) {
      for (const t of op.topics) this.#wire.delete(t);
      for (const s of this.#subs) if (s.filters.some(t => op.topics.includes(t))) this.#rest(s, f.cursor);
      this.#ops.shift();
      return this.#next();
    }
    for (const s of op.subs) s.live = this.#subs.has(s);
    for (const r of f.results) if (!r.ok) this.#refused(op.subs.filter(s => s.filters.includes(r.topic)), r, [r.topic]);
  }

  #refused(subs, problem, filters) {
    for (const f of filters) this.#wire.delete(f);
    for (const s of subs) {
      s.filters = s.filters.filter(f => !filters.includes(f));
      if (!s.filters.length) this.#subs.delete(s);
      tell(s.options.onError, new GatewayError(problem));
    }
  }

  // Everything that an op brings before the live messages is here.
  #complete(id) {
    const op = this.#ops[0];
    if (!id || op?.id !== id) return this.#answer({ id });
    this.#ops.shift();
    this.#first = undefined;
    for (const s of op.subs.filter(s => this.#subs.has(s))) {
      s.live = s.settled = true;
      if (!op.since && op.shared.length) this.#copies(s, op.shared);
      else tell(s.options.onReady);
    }
    if (this.#ops.length) return;
    for (const s of this.#subs) if (s.settled) s.got = s.at = undefined;
    this.#next();
  }

  // The gateway sends copies only to the first who wants a filter.
  async #copies(s, filters) {
    s.passed = new Map();
    try {
      for (const f of filters) {
        for (let page = '?limit=10000&filter=' + encodeURIComponent(f); page;) {
          const res = await this.fetch('topics' + page);
          for (const { cursor, ...m } of await res.json()) {
            if (!this.#subs.has(s) || s.passed.has(m.topic)) continue;
            s.passed.set(m.topic, cursor);
            tell(s.options.onMessage, message(m));
          }
          page = res.headers.get('link')?.match(/\?[^>]*/)[0];
        }
      }
      tell(s.options.onReady);
    } catch (e) {
      tell(s.options.onError, e);
    }
    this.#ask({ op: 'ping' }).then(() => (s.passed = undefined), () => {});
  }

  #answer(f, how = 'resolve', x = f) {
    const a = this.#answers.get(f.id);
    this.#answers.delete(f.id);
    a?.[how](x);
    return a;
  }

  #receive(f, text) {
    if (f.type === 'message') this.#message(f, text);
    else if (f.type === 'gap') this.#gap(f);
    else if (f.type === 'ack') this.#acked(f);
    else if (f.type === 'pong') this.#complete(f.id);
    else if (f.type === 'broker') tell(this.onbroker, f);
    else if (f.type === 'error') this.#failed(f);
    else this.#answer(f);
  }

  #failed(f) {
    const e = new GatewayError(f.problem), op = this.#ops[0];
    if (this.#answer(f, 'reject', e)) return;
    if (!op?.subs || op.id !== f.id) return tell(this.onerror, e);
    if (e.code !== 'invalid_cursor') return this.#refused(op.subs, f.problem, op.subs.flatMap(s => s.filters));
    for (const s of op.subs) tell(s.options.onError, e); // it is carried out all the same
  }

  #message(m, text) {
    if (m.cursor) this.#cursor = m.cursor;
    for (const s of m.cursor ? this.#subs : this.#ops[0]?.subs || this.#subs) {
      if (!s.filters.some(f => matches(f, m.topic)) || !(m.cursor ? this.#wants(s, m.cursor, m.topic + m.time) : s.live && (m.retain || s.options.snapshot))) continue;
      if (this.#had(s.passed?.get(m.topic), m.cursor)) continue;
      s.passed?.set(m.topic);
      tell(s.options.onMessage, m.json ? m : message(m, text));
    }
  }

  // A message comes once for all filters in force, but again with every replay:
  // got keeps it from coming twice. Only before a second subscribe are cursors
  // the messages' own.
  #wants(s, cursor, id) {
    if (!s.live && !(s.at && s.settled)) return false;
    if (this.#first && s.at) {
      if (!s.settled) s.at = cursor;
      else if (this.#had(s.at, cursor)) return false;
    }
    id = cursor + id;
    return !s.got ? s.live : !s.got.has(id) && !!s.got.add(id);
  }

  #had(at = '', cursor) {
    const [epoch, n] = at.split('-');
    return epoch === this.epoch && cursor.split('-')[1] <= +n;
  }

  #gap(m) {
    if (m.reason !== 'slow_consumer') this.#cursor = m.before; // it may be in the history
    const own = this.#ops[0]?.since && /expired|restarted/.test(m.reason) && this.#ops[0].subs;
    for (const s of own || this.#subs) {
      const id = m.before + m.topic;
      if (!s.live || s.got?.has(id) || (m.topic && !s.filters.some(f => matches(f, m.topic)))) continue;
      s.got?.add(id);
      tell(s.options.onGap, m);
    }
  }

  subscribe(filters, options = {}) {
    if (this.state === 'closed') throw notSent('The connection was closed.');
    const s = { filters: [].concat(filters), options, at: options.since };
    this.#subs.add(s);
    this.#next();
    return { close: () => ((s.live = false), this.#subs.delete(s) && this.#next()) };
  }

  async *messages(filters, { limit = 10000, ...options } = {}) {
    const buffer = [];
    let wake, failure;
    const end = e => ((failure ||= e), wake?.());
    const onMessage = m => (buffer.push(m) > limit ? end(new GatewayError({ code: 'slow_consumer', detail: `More than ${limit} messages wait.` })) : wake?.());
    const sub = this.subscribe(filters, { ...options, onMessage, onError: end });
    this.#ends.add(end);
    try {
      while (this.state !== 'closed' && !failure) {
        if (buffer.length) yield buffer.shift();
        else await new Promise(r => (wake = r));
      }
      if (failure) throw failure;
    } finally {
      this.#ends.delete(end);
      sub.close();
    }
  }

  async publish(topic, payload, { key, queue, ...options } = {}) {
    const object = fields(topic, payload, options), op = { op: 'publish', ...object }, body = JSON.stringify(object);
    if (key || body.length * 3 > this.limits.max_frame_bytes) {
      const headers = { 'Content-Type': 'application/json', ...(key && { 'Idempotency-Key': key }) };
      const res = await this.fetch('publish', { method: 'POST', headers, body }, unknown);
      return { status: res.status, ...(await res.json()) };
    }
    if (!this.#ready && (!queue || this.state === 'closed')) throw notSent('There is no connection.');
    if (!this.#ready && this.#queue.length > 99) throw notSent('100 messages wait already.');
    const { type, id, ...result } = await (this.#ready ? this.#ask(op) : this.#wait(op));
    return result;
  }

  #wait(op) {
    return new Promise((resolve, reject) => {
      const cancel = this.#after(30000, () => {
        this.#queue.splice(this.#queue.indexOf(go), 1);
        reject(notSent('No connection for 30 seconds.'));
      });
      const go = closed => {
        cancel();
        closed ? reject(notSent('The connection was closed.')) : resolve(this.#ask(op));
      };
      this.#queue.push(go);
    });
  }

  async request(topic, payload, { reply, expect, timeout, ...options } = {}) {
    if (!this.#ready) throw notSent('There is no connection.');
    if (timeout > 0) timeout += 'ms';
    return message((await this.#ask({ op: 'request', ...fields(topic, payload, options), reply, expect, timeout })).message);
  }

  async get(topic) {
    // In a path the levels . and .. lead elsewhere.
    const path = /(^|\/)\./.test(topic) ? '?limit=10000&filter=' + encodeURIComponent(topic) : '/' + topic.split('/').map(encodeURIComponent).join('/');
    try {
      const m = [].concat(await (await this.fetch('topics' + path, { headers: { Accept: 'application/json' } })).json()).find(m => m.topic === topic);
      return m ? message(m) : null;
    } catch (e) {
      if (e.code === 'topic_not_seen') return null;
      throw e;
    }
  }

  async fetch(path, init = {}, failure = () => notSent('The gateway cannot be reached.')) {
    const token = await value(this.#o.token), headers = { ...init.headers, ...(token && { Authorization: 'Bearer ' + token }) };
    const res = await fetch(new URL(path, this.#http), { ...init, headers }).catch(() => { throw failure(); });
    if (res.ok) return res;
    throw new GatewayError({ status: res.status, code: 'http_error', detail: `The answer was ${res.status}.`, ...(await res.json().catch(() => {})) });
  }

  #end(reason) {
    if (this.state === 'closed') return;
    this.#hangUp();
    for (const t of this.#timers) clearTimeout(t);
    this.#timers.clear();
    this.#listen('removeEventListener');
    this.#subs.clear();
    this.#say('closed', reason);
    for (const go of this.#queue.splice(0)) go(true);
    for (const end of this.#ends) end();
  }

  close() { this.#end('closed by the page'); }
}
