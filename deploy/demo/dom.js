// The few things this page does with the DOM. Data enters the page as text, never as markup.

/** An element with properties, attributes (`aria-…`, `data-…`) and children; strings become text. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'class') node.className = value;
    else if (name.includes('-') || name === 'role') node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return node;
}

/** The elements marked `data-part="…"` below a root, by name. */
export function parts(root) {
  const found = {};
  for (const node of root.querySelectorAll('[data-part]')) found[node.dataset.part] = node;
  return found;
}

/**
 * Makes a list show `rows` ({ key, sign, build }) and touches only what changed: a row with the same key and sign keeps
 * its element, so that focus, selection and what a screen reader was told stay.
 */
export function reconcile(parent, rows) {
  const before = parent.keyed ?? new Map();
  const after = new Map();
  for (const { key, sign, build } of rows) {
    const old = before.get(key);
    after.set(key, old?.sign === sign ? old : { sign, node: build() });
  }
  for (const [key, { node }] of before) {
    if (after.get(key)?.node !== node) {
      const successor = after.get(key)?.node;
      const focused = node.contains(document.activeElement) ? document.activeElement.dataset.testid : null;
      if (successor) {
        node.replaceWith(successor);
        if (focused) (successor.querySelector(`[data-testid="${focused}"]`) ?? successor).focus?.();
      } else {
        node.remove();
      }
    }
  }
  let position = parent.firstElementChild;
  for (const { node } of after.values()) {
    if (node === position) {
      position = position.nextElementSibling;
    } else {
      const focused = node.contains(document.activeElement) ? document.activeElement : null;
      parent.insertBefore(node, position);
      focused?.focus();
    }
  }
  parent.keyed = after;
}
