// A list of which only the rows that are seen exist.
import { el } from './dom.js';

export class Rows {
  #box; #space; #rows = []; #length; #make; #paint; #height; #follows; count = 0;
  atEnd = true; // as the reader left it, also while the list is out of sight

  /** length is how many there are; make gives an empty row; paint fills it with what stands at an index.
   * A list that follows stays at its end, unless the reader scrolls away from there. */
  constructor(box, { height = 24, length, make, paint, follows = false }) {
    this.#follows = follows;
    this.#box = box;
    this.#length = length;
    this.#make = make;
    this.#paint = paint;
    this.#height = height;
    this.#space = el('div', { class: 'space', role: 'presentation' });
    box.append(this.#space);
    box.addEventListener('scroll', () => {
      if (box.clientHeight) this.atEnd = box.scrollTop + box.clientHeight >= this.count * height - height / 2;
      this.draw();
    }, { passive: true });
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
    if (this.#follows && this.atEnd) this.#box.scrollTop = this.count * this.#height;
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

  shift(rows) { this.#box.scrollTop -= rows * this.#height; }

  reveal(index) {
    const top = index * this.#height, b = this.#box;
    if (top < b.scrollTop) b.scrollTop = top;
    else if (top + this.#height > b.scrollTop + b.clientHeight) b.scrollTop = top + this.#height - b.clientHeight;
  }

  get page() { return Math.max(1, Math.floor(this.#box.clientHeight / this.#height) - 1); }
}
