// Publishing, and what truly became of it.
import { el, byId, put, show, button, copy } from './dom.js';
import { base, clock, count, failure, plainJSON, quoted } from './format.js';

const place = 'vulture-gateway.saved', mostSaved = 50;

const advice = {
  not_connected: 'Wait until the gateway is connected; then it is safe to send again.',
  broker_unavailable: 'It is safe to send again when the broker is back.',
  outcome_unknown: 'It may have been published. Look at the topic before you send again: it may arrive twice.',
  broker_denied: 'The broker gives the gateway no right to this topic; see its access list.',
  topic_forbidden: 'Your key has no right to publish there.',
  retain_forbidden: 'Your key may not retain there; send without retain.',
  needs_mqtt5: 'The broker speaks MQTT 3.1.1; leave the MQTT 5 fields empty.',
  unknown_field: 'This gateway does not take that field; leave it empty.',
  would_clear_retained: 'To remove a retained message, open its topic and clear it.',
  payload_too_large: 'GATEWAY_MAX_PAYLOAD_BYTES sets the limit.',
  rate_limited: 'You publish faster than your limit; wait a moment.',
};

export class Publish {
  #session; #timer; #sent = 0;

  constructor(session) {
    this.#session = session;
    byId('publish-form').addEventListener('submit', e => {
      e.preventDefault();
      this.send();
    });
    byId('publish-curl').addEventListener('click', () => copy(this.#curl(), what => this.#say('', `The curl command is ${what}.`)));
    byId('publish-repeat').addEventListener('click', () => this.#repeat());
    byId('publish-save').addEventListener('click', () => this.#keep());
    byId('publish-payload').addEventListener('keydown', e => {
      if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) {
        e.preventDefault();
        this.send();
      }
    });
    this.#drawSaved();
  }

  to(topic) {
    byId('publish-topic').value = topic;
  }

  #field = name => byId('publish-' + name);

  // message is what the form says: topic, payload and options, or a refusal.
  #message() {
    const encoding = this.#field('encoding').value, text = this.#field('payload').value, properties = {};
    for (const line of this.#field('properties').value.split('\n').filter(l => l.trim())) {
      const at = line.indexOf('=');
      if (at < 1) throw { code: '', detail: `User properties are lines of name=value; this is none: ${line}` };
      const name = line.slice(0, at).trim(), v = line.slice(at + 1);
      properties[name] = Object.hasOwn(properties, name) ? [].concat(properties[name], v) : v;
    }
    let payload = text;
    if (encoding === 'json') {
      try {
        JSON.parse(text);
      } catch (e) {
        throw { code: '', detail: `The payload is no JSON: ${e.message}` };
      }
    }
    if (encoding === 'base64') payload = text.replace(/\s+/g, '');
    return {
      topic: this.#field('topic').value, payload,
      options: {
        encoding: encoding === 'base64' ? 'base64' : 'text', qos: Number(this.#field('qos').value), retain: this.#field('retain').checked,
        contentType: this.#field('content-type').value || undefined, expiry: this.#field('expiry').value || undefined,
        responseTopic: this.#field('response-topic').value || undefined, correlation: this.#field('correlation').value || undefined,
        userProperties: Object.keys(properties).length ? properties : undefined,
      },
    };
  }

  async send() {
    let m;
    try {
      m = this.#message();
      this.#say('', 'Sending …');
      const r = await this.#session.gw.publish(m.topic, m.payload, m.options);
      const words = r.delivery === 'acknowledged' ? 'The broker has confirmed it' : 'It was written to the broker, which confirms nothing at QoS 0';
      this.#say('ok', `${r.status} ${r.delivery} · ${words}, in ${r.took_ms.toFixed(1)} ms.` + (r.subscribers === 'none' ? ' Nobody subscribes to this topic at the broker.' : ''));
      return true;
    } catch (e) {
      const where = e.errors?.map(x => `${x.pointer}: ${x.detail}`).filter(x => !x.endsWith(e.detail)).join(' ');
      this.#say('bad', [failure(e), where, advice[e.code] ?? (e.retryable ? 'It was not sent; it is safe to send again.' : '')].filter(Boolean).join(' '));
      return false;
    }
  }

  #say(kind, text) {
    const p = byId('publish-result');
    p.dataset.kind = kind;
    put(p, text && `${clock(Date.now(), false)}  ${text}`);
  }

  // Repeats until stopped, or until one fails.
  #repeat() {
    const seconds = Number(this.#field('every').value), stop = () => {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      put(this.#field('repeat'), 'Repeat');
    };
    if (this.#timer !== undefined) return stop();
    if (!(seconds >= 0.1)) return this.#say('bad', 'Repeat every 0.1 seconds or more.');
    this.#sent = 0;
    const next = async () => {
      this.#timer = 0;
      if (!(await this.send())) return stop();
      put(this.#field('repeat'), `Stop (${count(++this.#sent)} sent)`);
      if (this.#timer !== undefined) this.#timer = setTimeout(next, seconds * 1000);
    };
    put(this.#field('repeat'), 'Stop');
    next();
  }

  #curl() {
    const { topic, payload, options: o } = this.#message();
    const body = { topic, payload, encoding: o.encoding, qos: o.qos, retain: o.retain || undefined, content_type: o.contentType, expiry: o.expiry, response_topic: o.responseTopic, correlation: o.correlation, user_properties: o.userProperties };
    return `${this.#session.curl}${quoted(base + 'publish')} -H 'Content-Type: application/json' -d ${quoted(plainJSON(body))}`;
  }

  // Saved messages stay in this browser: the form's fields, and no key.

  #saved() {
    try {
      const all = JSON.parse(localStorage.getItem(place) ?? '[]');
      return Array.isArray(all) ? all : [];
    } catch {
      return [];
    }
  }

  #store(all) {
    try {
      localStorage.setItem(place, JSON.stringify(all.slice(0, mostSaved)));
    } catch {
      this.#say('bad', 'The browser does not keep it: its storage is full or switched off.');
    }
    this.#drawSaved();
  }

  static fields = ['topic', 'payload', 'encoding', 'qos', 'content-type', 'expiry', 'response-topic', 'correlation', 'properties'];

  #keep() {
    const one = { retain: this.#field('retain').checked };
    for (const f of Publish.fields) one[f] = this.#field(f).value;
    if (!one.topic) return this.#say('bad', 'Type a topic first.');
    this.#store([one, ...this.#saved().filter(s => JSON.stringify(s) !== JSON.stringify(one))]);
  }

  #drawSaved() {
    const all = this.#saved();
    show(byId('publish-none'), !all.length);
    byId('publish-saved').replaceChildren(...all.map((one, i) => el('li', {},
      button(`${one.topic}  ${String(one.payload).slice(0, 60)}`, () => {
        for (const f of Publish.fields) this.#field(f).value = one[f] ?? '';
        this.#field('retain').checked = !!one.retain;
        this.#say('', 'Loaded; not sent yet.');
      }, { class: 'load' }),
      button('Forget', () => this.#store(this.#saved().filter((_, n) => n !== i)), { 'aria-label': `Forget ${one.topic}` }))));
  }
}
