// Words and numbers for people. Numbers have the same width in every row.

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
export const count = n => grouped.format(n).replaceAll(',', '\u202f');

export function rate(r) {
  if (r < 0.05) return '';
  if (r < 10) return r.toFixed(1) + '/s';
  return count(r) + '/s';
}

export function age(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 100) return s + ' s';
  if (s < 6000) return Math.floor(s / 60) + ' min';
  if (s < 172800) return Math.floor(s / 3600) + ' h';
  return Math.floor(s / 86400) + ' d';
}

export function size(n) {
  if (n < 1000) return n + ' B';
  if (n < 1e6) return (n / 1000).toFixed(1) + ' KB';
  return (n / 1e6).toFixed(1) + ' MB';
}

const two = n => String(n).padStart(2, '0');
export function clock(t, millis = true) {
  const d = new Date(t);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}` + (millis ? '.' + String(d.getMilliseconds()).padStart(3, '0') : '');
}

const encoder = new TextEncoder();

/** textOf is a payload's exact text, undefined for bytes that are none. */
export function textOf(m) {
  if (m.encoding !== 'json') return m.encoding === 'text' ? m.payload : undefined;
  let text = texts.get(m);
  if (text === undefined) texts.set(m, (text = written(m)));
  return text;
}
const texts = new WeakMap(), sizes = new WeakMap();

export const bytesOf = m => (m.encoding === 'base64' ? m.payload : encoder.encode(textOf(m)));

/** sizeOf is how many bytes a payload has. */
export function sizeOf(m) {
  if (m.encoding === 'base64') return m.payload.length;
  if (!sizes.has(m)) sizes.set(m, bytesOf(m).length);
  return sizes.get(m);
}

// written is a JSON payload as it was written: 21.50 stays 21.50. It stands
// between two fields; what is behind it must be whole, or the field is one of
// the payload, or of something behind it.
function written({ json, payload }) {
  const start = json.indexOf(',"payload":') + 11; // in a string its quotes would be escaped
  for (let end = json.length; start > 10 && (end = json.lastIndexOf(',"encoding":"json"', end - 1)) >= start;) {
    try {
      JSON.parse('{"":0' + json.slice(end));
      return json.slice(start, end);
    } catch { /* further to the left */ }
  }
  return JSON.stringify(payload);
}

/** preview is one short line, what a decoder made of it first; it ends with … where there is more. */
export function preview(m, most = 160) {
  const text = textOf(m), raw = text === undefined ? `${kindOf(m.payload)}, ${size(m.payload.length)}` : text === '' ? '(empty)' : cut(text, most);
  return m.value === undefined ? raw : `${cut(JSON.stringify(m.value), most)}  ← ${raw}`;
}

function cut(text, most) {
  const line = text.slice(0, most).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, c => (c === '\n' ? '⏎' : c === '\t' ? ' ' : '·'));
  return text.length > most ? line + '…' : line;
}

export function kindOf(bytes) {
  const starts = (...magic) => magic.every((b, i) => b === undefined || bytes[i] === b);
  if (starts(0xff, 0xd8, 0xff)) return 'JPEG image';
  if (starts(0x89, 0x50, 0x4e, 0x47)) return 'PNG image';
  if (starts(0x47, 0x49, 0x46, 0x38)) return 'GIF image';
  if (starts(0x52, 0x49, 0x46, 0x46, undefined, undefined, undefined, undefined, 0x57, 0x45, 0x42, 0x50)) return 'WebP image';
  return 'bytes';
}

export const reasons = {
  history_expired: 'the history does not reach back so far',
  gateway_restarted: 'the gateway was restarted',
  broker_connection_lost: 'the gateway had lost its broker',
  slow_consumer: 'this page could not keep up',
  broker_overflow: 'the broker dropped messages',
  too_large: 'a message was too large',
  other_gateway: 'another gateway answered',
};

export const gapText = g => `Messages ${g.certain ? 'are' : 'may be'} missing here, because ${reasons[g.reason] ?? 'of ' + g.reason} (${g.reason}).`;

/** encoded is a topic or filter as it stands in an address. */
export const encoded = topic => topic.split('/').map(encodeURIComponent).join('/');
export const pathOf = topic => 'topics/' + encoded(topic);
export const addressOf = topic => '#/topic/' + encoded(topic);

/** climbs says whether a topic has a level that a URL takes for a way up, or for none. */
export const climbs = topic => topic.split('/').some(level => level === '.' || level === '..');

/** byName orders as people do: pi-2 before pi-10. */
export const byName = new Intl.Collator('en', { numeric: true });

/** quoted is a text as one word of a shell. */
export const quoted = text => "'" + text.replaceAll("'", "'\\''") + "'";

/** plainJSON is JSON without characters that a terminal would act on. */
export const plainJSON = v => JSON.stringify(v).replace(/[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));

export const base = new URL('.', location.href.replace(/[?#].*/, '')).href;

/** received is a message object as the gateway wrote it. */
export function received(line) {
  const m = JSON.parse(line);
  if (m.encoding === 'base64') {
    const s = atob(m.payload);
    m.payload = new Uint8Array(s.length);
    for (let i = 0; i < s.length; i++) m.payload[i] = s.charCodeAt(i);
  }
  return Object.defineProperty(m, 'json', { value: line });
}

/** failure is what went wrong, for people: the status, the code, and the detail. */
export const failure = e => [e.status || '', e.code, e.detail ?? e.message].filter(Boolean).join(' · ');
