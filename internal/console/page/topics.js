// The tree of topics, and what is known of each. It is bounded: topics beyond
// the limit are counted, not kept.
import { byName, preview } from './format.js';

const mostTopics = 50000;

class Node {
  constructor(name, parent) {
    this.name = name;
    this.parent = parent;
    this.depth = parent ? parent.depth + 1 : -1;
    this.topic = this.depth <= 0 ? name : parent.topic + '/' + name;
    this.children = undefined; // by name
    this.sorted = undefined;
    this.open = false;
    this.last = undefined; // what is shown of the newest message; undefined: a mere level
    this.topics = 0; // here and below
    this.messages = 0;
    this.counted = 0;
    this.rate = 0;
    this.time = 0;
  }

  /** kids are the levels below, by name. */
  get kids() {
    return (this.sorted ??= [...(this.children?.values() ?? [])].sort((a, b) => byName.compare(a.name, b.name)));
  }
}

export class Topics {
  root = new Node('', undefined);
  #known = new Map();
  left = 0; // messages of topics that are not kept
  changed = true; // the tree has other rows than before
  eager = false; // new topics are unfolded, as long as there are few
  #measured = performance.now();

  get size() { return this.#known.size; }
  get(topic) { return this.#known.get(topic); }
  all() { return this.#known.values(); }

  take(m) {
    let node = this.#known.get(m.topic);
    if (!node) {
      if (this.#known.size >= mostTopics) return void this.left++;
      node = this.#add(m.topic);
    }
    const n = 1 + (m.skipped ?? 0), isCopy = !m.cursor;
    const time = m.retain ? 0 : Date.parse(m.time); // what the broker kept may be of any age
    node.last = { preview: preview(m), retain: m.retain };
    for (let at = node; at; at = at.parent) {
      if (!isCopy) at.messages += n;
      if (time > at.time) at.time = time;
    }
    return node;
  }

  #add(topic) {
    let at = this.root;
    for (const name of topic.split('/')) {
      at.children ??= new Map();
      let next = at.children.get(name);
      if (!next) {
        at.children.set(name, (next = new Node(name, at)));
        at.sorted = undefined;
      }
      at = next;
    }
    this.#known.set(topic, at);
    for (let up = at; up; up = up.parent) up.topics++;
    this.eager &&= this.size <= 40;
    if (this.eager) this.open(topic);
    this.changed = true;
    return at;
  }

  /** measure works the rates out; it is called once a second. */
  measure() {
    const now = performance.now(), seconds = Math.max(0.1, (now - this.#measured) / 1000);
    this.#measured = now;
    const weight = 1 - Math.exp(-seconds / 4);
    const visit = node => {
      const r = (node.messages - node.counted) / seconds;
      node.counted = node.messages;
      node.rate = node.rate === 0 ? r : node.rate + weight * (r - node.rate);
      if (node.children) for (const kid of node.children.values()) visit(kid);
    };
    visit(this.root);
  }

  /** open unfolds the way to a topic. */
  open(topic) {
    for (let at = this.#known.get(topic)?.parent; at && at !== this.root; at = at.parent) {
      if (!at.open) this.changed = at.open = true;
    }
  }

  /** unfold opens levels from the top, as long as few rows come of it. */
  unfold(most) {
    let rows = this.root.children?.size ?? 0;
    for (let level = this.root.kids; level.length;) {
      const next = level.flatMap(n => (n.children ? n.kids : []));
      rows += next.length;
      if (rows > most) break;
      for (const n of level) if (n.children) n.open = true;
      level = next;
    }
    this.eager = this.changed = true;
  }

  forget() {
    this.root = new Node('', undefined);
    this.#known.clear();
    this.left = 0;
    this.changed = true;
  }
}
