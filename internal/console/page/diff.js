// What changed from one payload to the next.
import { el } from './dom.js';
import { textOf, bytesOf, size, count } from './format.js';

const most = 50, mostSource = 200000;

/** changes lists what is different: {path, was, is}, or {note} where it cannot be said in detail. */
export function changes(before, now) {
  if (before.value !== undefined && now.value !== undefined) {
    const found = different(before.value, now.value, 'value');
    if (found.some(c => !c.note)) return found;
    return raw(before, now).length ? found : [];
  }
  return raw(before, now);
}

function raw(before, now) {
  const a = textOf(before), b = textOf(now);
  if (a === undefined || b === undefined) {
    const x = bytesOf(before), y = bytesOf(now);
    let at = 0;
    while (at < x.length && at < y.length && x[at] === y[at]) at++;
    if (at === x.length && at === y.length) return [];
    return [{ note: `bytes: ${size(x.length)} → ${size(y.length)}, different from byte ${count(at)} on` }];
  }
  if (a === b) return [];
  if (a.length + b.length > mostSource) return [{ note: `different, and too large to compare in detail (${size(a.length)} → ${size(b.length)})` }];
  const x = tree(a), y = tree(b);
  if (!x || !y) return [{ path: '', was: a, is: b }];
  return different(x, y, 'JSON');
}

function different(x, y, what) {
  const found = [];
  compare(x, y, '', found);
  return found.length ? found : [{ note: `the same ${what}, written otherwise` }];
}

function tree(text) {
  try {
    const v = JSON.parse(text);
    return typeof v === 'object' ? v : undefined;
  } catch { /* it is text */ }
}

function compare(a, b, path, found) {
  if (Object.is(a, b)) return;
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object' || Array.isArray(a) !== Array.isArray(b)) return void found.push({ path, was: word(a), is: word(b) });
  for (const k of new Set([...Object.keys(a), ...Object.keys(b)])) {
    compare(Object.hasOwn(a, k) ? a[k] : undefined, Object.hasOwn(b, k) ? b[k] : undefined, path ? `${path}.${k}` : k, found);
  }
}

const word = v => (v === undefined ? '(absent)' : JSON.stringify(v));
const short = s => (s.length > 120 ? s.slice(0, 120) + '…' : s);

export function showChanges(list) {
  if (!list.length) return el('p', { class: 'note', text: 'The same as the message before.' });
  const rows = list.slice(0, most).map(c => (c.note ? el('li', { text: c.note }) : el('li', {}, c.path && el('span', { class: 'key', text: c.path + ': ' }), el('del', { text: short(c.was) }), ' → ', el('ins', { text: short(c.is) }))));
  if (list.length > most) rows.push(el('li', { class: 'note', text: `and ${count(list.length - most)} more changes` }));
  return el('ul', { class: 'changes' }, ...rows);
}
