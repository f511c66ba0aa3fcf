// Elements. What topics and payloads hold goes in as text only.

/** el makes an element: properties, attributes with a dash or role, handlers with on. */
export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, v] of Object.entries(props)) {
    if (v === undefined || v === false) continue;
    if (name.startsWith('on')) e.addEventListener(name.slice(2), v);
    else if (name.includes('-') || name === 'role' || name === 'for' || name === 'list') e.setAttribute(name, v);
    else if (name === 'class') e.className = v;
    else if (name === 'text') e.textContent = v;
    else e[name] = v;
  }
  e.append(...children.filter(c => c !== undefined && c !== null && c !== false));
  return e;
}

export const byId = id => document.getElementById(id);

/** put sets a text, and leaves the page alone where it is the same. */
export function put(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

export function show(e, visible) {
  if (e.hidden === visible) e.hidden = !visible;
}

export const button = (text, onclick, props = {}) => el('button', { type: 'button', text, onclick, ...props });

/** often calls f soon, and not more often than every ms. */
export function often(ms, f) {
  let timer, last = 0;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      last = performance.now();
      requestAnimationFrame(f);
    }, Math.max(0, last + ms - performance.now()));
  };
}

/** copy puts a text on the clipboard, and shows it where there is none to be had. */
export async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    said('copied');
  } catch {
    const box = el('textarea', { class: 'copied', value: text, readOnly: true, 'aria-label': 'to copy' });
    const dialog = el('dialog', { class: 'small' }, el('p', { text: 'Pages may write to the clipboard over https and on localhost only. Copy it from here:' }), box,
      el('form', { method: 'dialog' }, el('button', { text: 'Close' })));
    document.body.append(dialog);
    dialog.addEventListener('close', () => dialog.remove());
    dialog.showModal();
    box.select();
  }
}

export function save(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  el('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
