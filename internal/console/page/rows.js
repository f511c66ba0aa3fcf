// A list of which only the rows that are seen exist.
import { el } from './dom.js';

export class Rows {
  #box; #space; #rows = []; #length; #make; #paint; #height; count = 0;

  /** length is how many there are; make gives an empty row; paint fills it with what stands at an index. */
  constructor(box, { height = 24, length, make, paint }) {
    this.#box = box;
    this.#length = length;
    this.#make = make;
    this.#paint = paint;
    this.#height = height;
    this.#space = el('div', { class: 'space', role: 'presentation' });
    box.append(this.#space);
    box.addEventListener('scroll', () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(box);
  }

  measure() {
    const count = this.#length();
    if (count === this.count) return;
    this.count = count;
    this.#space.style.height = count * this.#height + 'px';
  }

  draw() {
    this.measure();
    const first = Math.floor(this.#box.scrollTop / this.#height);
    const seen = Math.min(this.count - first, Math.ceil(this.#box.clientHeight / this.#height) + 1);
    while (this.#rows.length < seen) {
      const row = this.#make();
      row.style.height = this.#height + 'px';
      this.#rows.push(row);
      this.#space.append(row);
    }
    this.#rows.forEach((row, i) => {
      // Each row keeps its place modulo their number, so scrolling moves few.
      const n = this.#rows.length, index = first + ((((i - first) % n) + n) % n);
      row.hidden = index >= first + seen || index >= this.count;
      if (row.hidden) return;
      const top = index * this.#height + 'px';
      if (row.style.top !== top) row.style.top = top;
      this.#paint(row, index);
    });
  }

  get atEnd() { return this.#box.scrollTop + this.#box.clientHeight >= this.count * this.#height - this.#height / 2; }
  toEnd() { this.#box.scrollTop = this.count * this.#height; }
  shift(rows) { this.#box.scrollTop -= rows * this.#height; }

  reveal(index) {
    const top = index * this.#height, b = this.#box;
    if (top < b.scrollTop) b.scrollTop = top;
    else if (top + this.#height > b.scrollTop + b.clientHeight) b.scrollTop = top + this.#height - b.clientHeight;
  }

  get page() { return Math.max(1, Math.floor(this.#box.clientHeight / this.#height) - 1); }
}
