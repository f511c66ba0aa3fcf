// One payload in the views that it has: JSON to fold, text, bytes, a picture,
// and what the gateway's decoder makes of it. What is cut says so.
import { el, button, save } from './dom.js';
import { textOf, bytesOf, size, kindOf, count } from './format.js';

const mostText = 20000, mostRows = 200, mostBytes = 4096, exactJSON = 1 << 20;

/** viewsOf names the views of a message, the best first. */
export function viewsOf(m) {
  const views = [];
  if (m.encoding === 'base64' && kindOf(m.payload).endsWith('image')) views.push('image');
  if (m.value !== undefined || m.decode_error) views.push('decoded');
  if (jsonOf(m) !== undefined) views.push('json');
  if (m.encoding !== 'base64') views.push('text');
  views.push('hex');
  return views;
}

// jsonOf is the JSON text of objects and arrays, also of those with line breaks.
function jsonOf(m) {
  if (m.encoding === 'base64') return;
  const text = m.encoding === 'json' ? textOf(m) : textOf(m).trim();
  if (!text || !'{['.includes(text[0])) return;
  if (m.encoding === 'json') return text;
  try {
    JSON.parse(text);
    return text;
  } catch { /* it is text */ }
}

/** view makes one of them; folds remembers what is open from one message to the next. */
export function view(name, m, folds) {
  if (name === 'image') return picture(m);
  if (name === 'json') return jsonView(jsonOf(m), folds);
  if (name === 'decoded') return m.decode_error ? el('p', { class: 'bad', text: 'The decoder: ' + m.decode_error }) : jsonView(JSON.stringify(m.value), folds);
  if (name === 'hex') return hex(bytesOf(m));
  return text(textOf(m));
}

// A number that a double cannot hold, or is written otherwise, keeps its text.
class Exact {
  constructor(source) { this.source = source; }
}

function parse(source) {
  if (source.length > exactJSON) return JSON.parse(source);
  return JSON.parse(source, (_, v, context) => (typeof v === 'number' && context?.source !== undefined && context.source !== String(v) ? new Exact(context.source) : v));
}

function jsonView(source, folds) {
  const box = el('div', { class: 'json' });
  if (source.length > exactJSON) box.append(el('p', { class: 'note', text: 'Large: numbers are rounded as JavaScript does; Text shows them to the last digit.' }));
  box.append(branch(undefined, parse(source), '$', folds, true));
  return box;
}

function scalar(v) {
  if (v instanceof Exact) return el('span', { class: 'number', text: v.source });
  const text = typeof v === 'string' ? JSON.stringify(v.length > 2000 ? v.slice(0, 2000) : v) : String(v);
  const e = el('span', { class: v === null ? 'null' : typeof v, text });
  if (v?.length > 2000) e.append(el('em', { text: ` … ${count(v.length - 2000)} more characters; see Text` }));
  return e;
}

function branch(key, v, path, folds, open) {
  const label = key === undefined ? '' : key + ': ';
  if (v === null || typeof v !== 'object' || v instanceof Exact) return el('div', { class: 'leaf' }, el('span', { class: 'key', text: label }), scalar(v));
  const keys = Array.isArray(v) ? v.length : Object.keys(v).length;
  const words = Array.isArray(v) ? `[ ${count(keys)} ${keys === 1 ? 'element' : 'elements'} ]` : `{ ${count(keys)} ${keys === 1 ? 'field' : 'fields'} }`;
  const details = el('details', { open: folds.has(path) ? folds.get(path) : open && keys <= 50 }, el('summary', {}, el('span', { class: 'key', text: label }), el('span', { class: 'kind', text: words })));
  let filled = false;
  const fill = () => {
    if (filled || !details.open) return;
    filled = true;
    more(details, Object.entries(v), 0, path, folds);
  };
  details.addEventListener('toggle', () => {
    folds.set(path, details.open);
    fill();
  });
  fill();
  return details;
}

function more(into, entries, from, path, folds) {
  for (const [k, x] of entries.slice(from, from + mostRows)) into.append(branch(k, x, path + '/' + k, folds, false));
  const left = entries.length - from - mostRows;
  if (left > 0) into.append(button(`Show ${count(Math.min(left, mostRows))} of ${count(left)} more`, e => (e.target.remove(), more(into, entries, from + mostRows, path, folds))));
}

function text(all) {
  const box = el('div', {}), pre = el('pre', { class: all.length <= 40 && !all.includes('\n') ? 'big' : '', text: all.slice(0, mostText), tabIndex: 0, 'aria-label': 'payload as text' });
  box.append(pre);
  if (all === '') pre.textContent = '(empty: no bytes)';
  if (all.length > mostText) {
    const cut = el('p', { class: 'note', text: `The first ${count(mostText)} of ${count(all.length)} characters. ` },
      button('Show all', () => ((pre.textContent = all), cut.remove())), ' ', button('Save as a file', () => save('payload.txt', [all], 'text/plain')));
    box.append(cut);
  }
  return box;
}

function hex(bytes) {
  const box = el('div', {}), pre = el('pre', { class: 'hex', tabIndex: 0, 'aria-label': 'payload as bytes' }), note = el('p', { class: 'note' });
  let shown = 0;
  const next = most => {
    const lines = [];
    const end = Math.min(bytes.length, shown + most);
    for (; shown < end; shown += 16) {
      const part = [...bytes.subarray(shown, Math.min(shown + 16, end))];
      lines.push(shown.toString(16).padStart(6, '0') + '  ' + part.map(b => b.toString(16).padStart(2, '0')).join(' ').padEnd(48) + ' ' + part.map(b => (b > 31 && b < 127 ? String.fromCharCode(b) : '·')).join(''));
    }
    shown = end;
    pre.append((pre.textContent ? '\n' : '') + lines.join('\n'));
    note.replaceChildren(shown < bytes.length ? `The first ${count(shown)} of ${count(bytes.length)} bytes. ` : `${count(bytes.length)} bytes.`);
    if (shown < bytes.length) note.append(button('Show more', () => next(16 * mostBytes)), ' ', button('Save as a file', () => save('payload.bin', [bytes], 'application/octet-stream')));
  };
  next(mostBytes);
  box.append(pre, note);
  return box;
}

function picture(m) {
  const kind = kindOf(m.payload), url = URL.createObjectURL(new Blob([m.payload], { type: 'image/' + kind.split(' ')[0].toLowerCase() }));
  const words = el('figcaption', { text: `${kind}, ${size(m.payload.length)}` });
  const img = el('img', { src: url, alt: `${kind} on ${m.topic}`, onload: () => {
    words.textContent += `, ${img.naturalWidth} × ${img.naturalHeight}`;
    URL.revokeObjectURL(url);
  }, onerror: () => {
    words.textContent += ', which cannot be shown: it is damaged';
    URL.revokeObjectURL(url);
  } });
  return el('figure', {}, img, words);
}
