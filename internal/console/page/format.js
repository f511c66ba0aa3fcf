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
  if (m.encoding === 'text') return m.payload;
  if (m.encoding === 'json') return member(m.json, 'payload') ?? JSON.stringify(m.payload);
}

export const bytesOf = m => (m.encoding === 'base64' ? m.payload : encoder.encode(textOf(m)));

/** member is the text of an object's member as it was written: 21.50 stays 21.50. */
function member(object, name) {
  const at = object.indexOf(`,"${name}":`); // in a string its quotes would be escaped
  if (at < 0) return;
  const start = at + name.length + 4;
  let depth = 0, quoted = false;
  for (let i = start; i < object.length; i++) {
    const c = object[i];
    if (quoted) {
      if (c === '\\') i++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === '{' || c === '[') depth++;
    else if ((c === '}' || c === ']' || c === ',') && depth === 0) return object.slice(start, i);
    else if (c === '}' || c === ']') depth--;
  }
}

/** preview is one short line; it ends with … where there is more. */
export function preview(m, most = 160) {
  const text = textOf(m);
  if (text === undefined) return `${kindOf(m.payload)}, ${size(m.payload.length)}`;
  if (text === '') return '(empty)';
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

/** path is the way to a topic below /topics/. */
export const pathOf = topic => 'topics/' + topic.split('/').map(encodeURIComponent).join('/');

/** quoted is a text as one word of a shell. */
export const quoted = text => "'" + text.replaceAll("'", "'\\''") + "'";

/** plainJSON is JSON without characters that a terminal would act on. */
export const plainJSON = v => JSON.stringify(v).replace(/[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));

export const base = new URL('.', location.href.replace(/[?#].*/, '')).href;

/** received is a message object as the gateway wrote it. */
export function received(line) {
  const m = JSON.parse(line);
  if (m.encoding === 'base64') m.payload = Uint8Array.from(atob(m.payload), c => c.charCodeAt(0));
  return Object.defineProperty(m, 'json', { value: line });
}

/** failure is what went wrong, for people: the status, the code, and the detail. */
export const failure = e => [e.status || '', e.code, e.detail ?? e.message].filter(Boolean).join(' · ');
