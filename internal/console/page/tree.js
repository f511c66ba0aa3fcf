// The tree of topics, by keyboard and mouse. Only rows that are seen exist.
import { el, byId, put, often, show } from './dom.js';
import { age, count, rate, base } from './format.js';
import { Rows } from './rows.js';
import { matches } from '../sdk.js';

export class Tree {
  #topics; #rows; #list = []; #at = 0; #filter = ''; #loudest = false; #box; #isLive; #choose; #sought; #columns = document.querySelector('#topics .columns');
  selected;

  /** isLive says whether all that is there has come; choose is called with the topic that was picked. */
  constructor(topics, isLive, choose) {
    this.#topics = topics;
    this.#isLive = isLive;
    this.#choose = choose;
    this.#box = byId('tree');
    this.#rows = new Rows(this.#box, { length: () => this.#list.length, make: () => this.#make(), paint: (row, i) => this.#paint(row, i) });
    this.#box.addEventListener('keydown', e => this.#key(e));
    this.#box.addEventListener('click', e => this.#click(e));
    byId('tree-filter').addEventListener('input', e => {
      this.#filter = e.target.value.trim();
      this.refresh();
    });
    byId('tree-filter').addEventListener('keydown', e => {
      if (e.key === 'ArrowDown' || e.key === 'Enter') this.#box.focus();
      if (e.key === 'Escape') this.clearFilter();
    });
    byId('tree-order').addEventListener('change', e => {
      this.#loudest = e.target.value === 'loudest';
      this.refresh();
    });
    byId('tree-fold').addEventListener('click', () => this.#fold());
    byId('first-lines').textContent = `curl -d 21.5 ${base}topics/pi/3/battery\nmosquitto_pub -h ${location.hostname} -t pi/3/led -m on`;
    this.draw = often(200, () => this.#draw());
  }

  clearFilter() {
    this.#filter = byId('tree-filter').value = '';
    this.refresh();
  }

  /** refresh works out the rows anew. */
  refresh() {
    this.#topics.changed = true;
    this.draw();
  }

  select(topic) {
    this.selected = this.#sought = topic;
    this.refresh();
  }

  /** tick is called once a second: the loudest come first again, but not under a pointer. */
  tick() {
    if (this.#loudest && !this.#box.matches(':hover') && ++this.#ticks % 3 === 0) this.#topics.changed = true;
    this.draw();
  }
  #ticks = 0;

  #fold() {
    for (const node of this.#list) node.open = false;
    this.#topics.eager = false;
    this.refresh();
  }

  #wanted() {
    const f = this.#filter;
    if (!f) return () => true;
    if (/[+#]/.test(f)) return topic => matches(f, topic);
    const words = f.toLowerCase().split(/\s+/);
    return topic => {
      const t = topic.toLowerCase();
      return words.every(w => t.includes(w));
    };
  }

  // layOut works the rows out; it says whether the topic that is sought is among them.
  #layOut() {
    const sought = this.#topics.get(this.#sought), chosen = sought ?? this.#list[this.#at], wanted = this.#wanted(), list = [];
    if (sought) this.#topics.open(this.#sought);
    if (this.#loudest) {
      for (const node of this.#topics.all()) if (wanted(node.topic)) list.push(node);
      list.sort((a, b) => b.rate - a.rate || b.messages - a.messages);
    } else {
      let keep;
      if (this.#filter) {
        keep = new Set();
        for (const node of this.#topics.all()) if (wanted(node.topic)) for (let up = node; up && !keep.has(up); up = up.parent) keep.add(up);
      }
      const walk = node => {
        for (const kid of node.kids) {
          if (keep && !keep.has(kid)) continue;
          list.push(kid);
          if (kid.children && (kid.open || keep)) walk(kid);
        }
      };
      walk(this.#topics.root);
    }
    this.#list = list;
    this.#topics.changed = false;
    const still = chosen ? list.indexOf(chosen) : -1;
    this.#at = still >= 0 ? still : Math.min(this.#at, Math.max(0, list.length - 1));
    this.#rows.measure();
    if (this.#isLive()) this.#sought = undefined; // until then it may be pushed out of sight
    return !!sought && still >= 0;
  }

  #draw() {
    const isFound = this.#topics.changed && this.#layOut();
    show(byId('tree-empty'), this.#topics.size === 0 && this.#isLive());
    show(this.#columns, this.#topics.size > 0);
    show(byId('tree-none'), this.#topics.size > 0 && this.#list.length === 0);
    const left = this.#topics.left;
    put(byId('tree-size'), `${count(this.#topics.size)} ${this.#topics.size === 1 ? 'topic' : 'topics'}` + (left ? `; ${count(left)} messages of further topics are not shown` : ''));
    if (isFound) this.#rows.reveal(this.#at);
    this.now = Date.now();
    this.#rows.draw();
    const row = this.#list[this.#at] && this.#box.querySelector(`#row-${this.#at}`);
    if (row) this.#box.setAttribute('aria-activedescendant', row.id);
    else this.#box.removeAttribute('aria-activedescendant');
  }

  #make() {
    const part = name => el('span', { class: name });
    const row = el('div', { class: 'row', role: 'treeitem' }, el('span', { class: 'name' }, part('twist'), part('label')), part('value'), part('rate'), part('count'), part('age'));
    const [name, value, rateCell, countCell, ageCell] = row.children;
    row.parts = { twist: name.children[0], label: name.children[1], name, value, rate: rateCell, count: countCell, age: ageCell };
    return row;
  }

  #paint(row, i) {
    const node = this.#list[i], p = row.parts, flat = this.#loudest;
    const folds = !flat && !!node.children, isOpen = folds && (node.open || !!this.#filter);
    row.node = node;
    if (row.id !== 'row-' + i) row.id = 'row-' + i;
    put(p.twist, folds ? (isOpen ? '▾' : '▸') : '');
    put(p.label, flat ? node.topic : node.name === '' ? '(empty level)' : node.name);
    const indent = flat ? '0px' : `min(${node.depth * 14}px, 45%)`;
    if (p.name.style.paddingLeft !== indent) p.name.style.paddingLeft = indent;
    put(p.value, node.last ? node.last.preview : `${count(node.topics)} ${node.topics === 1 ? 'topic' : 'topics'}`);
    put(p.rate, rate(node.rate));
    put(p.count, node.messages ? count(node.messages) : '');
    put(p.age, node.time ? age(this.now - node.time) : '');
    row.className = 'row' + (node.last ? '' : ' level') + (node.last?.retain ? ' kept' : '') + (i === this.#at ? ' at' : '') + (node.last && node.topic === this.selected ? ' selected' : '') + (this.now - node.time < 1500 && node.last ? ' fresh' : '');
    const set = (a, v) => v === undefined ? row.removeAttribute(a) : row.getAttribute(a) !== v && row.setAttribute(a, v);
    set('aria-level', String(flat ? 1 : node.depth + 1));
    set('aria-expanded', folds ? String(isOpen) : undefined);
    set('aria-selected', String(!!node.last && node.topic === this.selected));
    set('aria-posinset', String(i + 1));
    set('aria-setsize', String(this.#list.length));
    set('data-testid', node.last ? 'topic' : 'level');
    set('data-topic', node.topic);
    if (row.title !== node.topic) row.title = node.topic;
  }

  #click(e) {
    const node = e.target.closest('.row')?.node;
    if (!node) return;
    this.#at = this.#list.indexOf(node);
    if (node.children && (e.target.classList.contains('twist') || !node.last)) node.open = !node.open;
    if (node.last && !e.target.classList.contains('twist')) this.#choose(node.topic);
    this.refresh();
  }

  #key(e) {
    const node = this.#list[this.#at], most = this.#list.length - 1;
    if (!node || e.ctrlKey || e.metaKey || e.altKey) return;
    const to = {
      ArrowDown: () => this.#at + 1, ArrowUp: () => this.#at - 1, Home: () => 0, End: () => most,
      PageDown: () => this.#at + this.#rows.page, PageUp: () => this.#at - this.#rows.page,
      ArrowRight: () => (node.children && !node.open && !this.#loudest ? ((node.open = this.#topics.changed = true), this.#at) : this.#at + 1),
      ArrowLeft: () => (node.open && !this.#loudest ? ((node.open = false), (this.#topics.changed = true), this.#at) : Math.max(0, this.#list.indexOf(node.parent))),
      Enter: () => this.#enter(node), ' ': () => this.#enter(node),
    }[e.key];
    if (!to) return;
    e.preventDefault();
    this.#at = Math.max(0, Math.min(most, to()));
    this.#rows.reveal(this.#at);
    this.draw();
    this.#draw();
  }

  #enter(node) {
    if (node.last) this.#choose(node.topic);
    else if (node.children) {
      node.open = !node.open;
      this.#topics.changed = true;
    }
    return this.#at;
  }
}
