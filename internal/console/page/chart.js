// A line chart of numbers over time, on a canvas.
import { clock, count } from './format.js';

const mostPoints = 5000;

/** fieldsOf lists the numbers in a payload: '' is the payload itself, a.b.0 a field of it. */
export function fieldsOf(v, path = '', found = [], depth = 0) {
  if (numberOf(v) !== undefined) found.push(path);
  else if (v && typeof v === 'object' && depth < 6) {
    for (const [k, x] of Object.entries(v).slice(0, 100)) {
      if (found.length < 200) fieldsOf(x, path ? path + '.' + k : k, found, depth + 1);
    }
  }
  return found;
}

/** fieldOf is the number at a path, undefined where there is none. */
export function fieldOf(v, path) {
  if (path === '') return numberOf(v);
  // A key may have a dot in it, so the longest that exists is tried.
  if (v === null || typeof v !== 'object') return;
  for (const k of Object.keys(v)) {
    if (path === k) return numberOf(v[k]);
    if (path.startsWith(k + '.')) {
      const n = fieldOf(v[k], path.slice(k.length + 1));
      if (n !== undefined) return n;
    }
  }
}

function numberOf(v) {
  if (typeof v === 'number') return Number.isFinite(v) ? v : undefined;
  if (typeof v === 'boolean') return v ? 1 : 0;
  if (typeof v === 'string' && v.length < 40 && /^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$/.test(v)) return Number(v);
}

const digits = n => (Math.abs(n) >= 1e6 || (n !== 0 && Math.abs(n) < 1e-4) ? n.toExponential(3) : String(Number(n.toPrecision(7))));

export class Chart {
  #canvas; #words; #points = []; #hover; #cut = 0;

  constructor(canvas, words) {
    this.#canvas = canvas;
    this.#words = words;
    canvas.addEventListener('pointermove', e => this.#point(e.offsetX));
    canvas.addEventListener('pointerleave', () => this.#point());
    canvas.addEventListener('keydown', e => this.#key(e));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  clear() {
    this.#points = [];
    this.#cut = 0;
    this.#hover = undefined;
  }

  /** add appends a point, or a hole where messages are missing. */
  add(time, value) {
    this.#points.push({ time, value });
    if (this.#points.length <= mostPoints) return;
    const gone = this.#points.length - Math.floor(mostPoints * 0.9);
    this.#points.splice(0, gone);
    this.#cut += gone;
  }

  get #real() { return this.#points.filter(p => p.value !== undefined); }

  draw() {
    const canvas = this.#canvas, ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight, points = this.#real;
    if (!w || !h) return;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
    }
    const c = canvas.getContext('2d'), style = getComputedStyle(canvas);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, w, h);
    this.#say(points);
    if (!points.length) return;
    this.#scale(points, w, h);
    c.font = style.font;
    this.#grid(c, style);
    this.#line(c, style);
    this.#cross(c, style);
  }

  // The axes: a little room around the values, and never a range of nothing.
  #scale(points, w, h) {
    let low = Infinity, high = -Infinity;
    for (const p of points) {
      if (p.value < low) low = p.value;
      if (p.value > high) high = p.value;
    }
    const room = (high - low || Math.abs(high) || 1) * 0.08, from = points[0].time, to = Math.max(points.at(-1).time, from + 1000);
    low -= room;
    high += room;
    const left = 58, right = w - 10, top = 8, bottom = h - 22;
    Object.assign(this, {
      box: { left, right, top, bottom, low, high, from, to },
      x: t => left + ((t - from) / (to - from)) * (right - left),
      y: v => bottom - ((v - low) / (high - low)) * (bottom - top),
    });
  }

  #grid(c, style) {
    const { left, right, top, bottom, low, high, from, to } = this.box;
    c.strokeStyle = style.getPropertyValue('--line');
    c.fillStyle = style.getPropertyValue('--dim');
    c.lineWidth = 1;
    c.textAlign = 'right';
    c.textBaseline = 'middle';
    const step = nice((high - low) / Math.max(2, (bottom - top) / 36));
    for (let v = Math.ceil(low / step) * step; v <= high; v += step) {
      const y = Math.round(this.y(v)) + 0.5;
      c.beginPath();
      c.moveTo(left, y);
      c.lineTo(right, y);
      c.stroke();
      c.fillText(digits(Math.abs(v) < step / 1e6 ? 0 : v), left - 6, y);
    }
    c.textBaseline = 'top';
    const marks = Math.max(1, Math.floor((right - left) / 150));
    for (let i = 0; i <= marks; i++) {
      const t = from + ((to - from) * i) / marks;
      c.textAlign = i === 0 ? 'left' : i === marks ? 'right' : 'center';
      c.fillText(clock(t, to - from < 5000), this.x(t), bottom + 6);
    }
  }

  #line(c, style) {
    c.strokeStyle = c.fillStyle = style.getPropertyValue('--accent');
    c.lineWidth = 1.5;
    c.lineJoin = 'round';
    c.beginPath();
    let isOn = false;
    for (const p of this.#points) {
      if (p.value === undefined) isOn = false;
      else if (isOn) c.lineTo(this.x(p.time), this.y(p.value));
      else c.moveTo(this.x(p.time), this.y(p.value));
      isOn = p.value !== undefined;
    }
    c.stroke();
    const all = this.#real;
    for (const p of all.length <= 60 ? all : [all.at(-1)]) this.#dot(c, p, 2.5);
  }

  #dot(c, p, r) {
    c.beginPath();
    c.arc(this.x(p.time), this.y(p.value), r, 0, 7);
    c.fill();
  }

  #cross(c, style) {
    const p = this.#hover;
    if (!p || p.time < this.box.from) return;
    c.strokeStyle = style.getPropertyValue('--dim');
    c.beginPath();
    c.moveTo(Math.round(this.x(p.time)) + 0.5, this.box.top);
    c.lineTo(Math.round(this.x(p.time)) + 0.5, this.box.bottom);
    c.stroke();
    this.#dot(c, p, 4);
  }

  #point(x) {
    const all = this.#real;
    this.#hover = undefined;
    if (x !== undefined && this.box && all.length) this.#hover = all.reduce((best, p) => (Math.abs(this.x(p.time) - x) < Math.abs(this.x(best.time) - x) ? p : best));
    this.draw();
  }

  #key(e) {
    const all = this.#real, step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!step || !all.length) return;
    e.preventDefault();
    const at = this.#hover ? all.indexOf(this.#hover) : all.length;
    this.#hover = all[Math.max(0, Math.min(all.length - 1, at + step))];
    this.draw();
  }

  #say(all) {
    const p = this.#hover;
    let words = 'No numbers yet.';
    if (p) words = `${clock(p.time)}  ${digits(p.value)}`;
    else if (all.length) {
      let low = Infinity, high = -Infinity, sum = 0;
      for (const { value } of all) {
        low = Math.min(low, value);
        high = Math.max(high, value);
        sum += value;
      }
      words = `last ${digits(all.at(-1).value)}   least ${digits(low)}   most ${digits(high)}   mean ${digits(sum / all.length)}   ${count(all.length)} ${all.length === 1 ? 'point' : 'points'}` + (this.#cut ? `; ${count(this.#cut)} older ones are not kept` : '');
    }
    if (this.#words.textContent !== words) this.#words.textContent = words;
    this.#canvas.setAttribute('aria-label', 'Chart: ' + words);
  }
}

function nice(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  return power * ([1, 2, 5, 10].find(n => n * power >= step) ?? 10);
}
