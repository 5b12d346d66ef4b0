export function render({ model, el }) {
  el.textContent = JSON.parse(model.get("document")).title;
}
