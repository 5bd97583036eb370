// Making elements. Whatever is shown is set as text, never as markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.map(child => child instanceof Node ? child : String(child)));
  return made;
}
export const button = (text, onclick, attributes = {}) => element("button", {type: "button", onclick, ...attributes}, text);
