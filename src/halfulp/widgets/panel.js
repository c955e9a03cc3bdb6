// Sends what is pressed, typed and dragged to the kernel, and shows what it answers: no arithmetic here.

const REST = 200; // milliseconds without a key before a text is sent

// One message is under way at a time; of the texts of a field that wait, the last one is sent.
class Sender {
  constructor(model, names) {
    Object.assign(this, { model, names, waiting: [], busy: false });
  }
  tell(content) {
    const [name] = Object.keys(content);
    const last = this.waiting.at(-1);
    if (last && name in last && this.names.has(name)) this.waiting.pop();
    this.waiting.push(content);
    this.next();
  }
  next() {
    if (this.busy || !this.waiting.length) return;
    this.busy = true;
    this.model.send(this.waiting.shift());
  }
  answered() {
    this.busy = false;
    this.next();
  }
}

// Fields send their texts after a rest, sliders at once; answers fill in what the kernel made of them.
class Fields {
  constructor(model, el, root) {
    const all = [...el.querySelectorAll(".hu-fields [name]")];
    Object.assign(this, { model, root, all, resting: new Map() });
    this.sender = new Sender(model, new Set(all.map((field) => field.name)));
    el.addEventListener("input", ({ target }) => { if (all.includes(target)) this.typed(target); });
    el.addEventListener("change", ({ target }) => { if (all.includes(target)) this.say(target); });
  }
  typed(field) {
    if (field.type === "range") return this.say(field);
    clearTimeout(this.resting.get(field));
    this.resting.set(field, setTimeout(() => this.say(field), REST));
  }
  say(field) {
    clearTimeout(this.resting.get(field));
    this.resting.delete(field);
    if (field.value !== this.model.get(field.name)) this.sender.tell({ [field.name]: field.value });
  }
  sayAll() {
    for (const field of [...this.resting.keys()]) this.say(field);
  }
  fill() {
    for (const field of this.all) {
      const text = this.model.get(field.name);
      field.disabled = field.type === "range" && text === "";
      // What is typed while an answer is on its way stays as it is.
      const unsent = this.sender.waiting.length || this.resting.has(field);
      if (!(unsent && field === this.root.activeElement) && field.value !== text) field.value = text;
    }
  }
}

// The result anew; focus and what was scrolled are found again by name and place.
function put(html, result, root) {
  const at = result.contains(root.activeElement) ? root.activeElement : null;
  const scrolled = [...result.querySelectorAll(".hu-scroll")].map((box) => box.scrollLeft);
  result.innerHTML = html;
  result.querySelectorAll(".hu-scroll").forEach((box, i) => { box.scrollLeft = scrolled[i] ?? 0; });
  if (!at) return;
  const buttons = [...result.querySelectorAll("button")];
  const same = buttons.find((button) => button.name === at.name && button.value === at.value);
  (same ?? result).focus({ preventScroll: true });
}

function render({ model, el }) {
  const root = el.getRootNode();
  el.classList.add("hu-record", "hu-card");
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab: keys pressed in here are not its own
  el.innerHTML = model.get("form");
  const fields = new Fields(model, el, root);
  const { sender } = fields;
  new Drag(el, root, (content) => sender.tell(content));

  el.addEventListener("click", ({ target }) => {
    const button = target.closest("button[name]");
    if (!button) return;
    fields.sayAll();
    sender.tell({ [button.name]: button.value });
  });
  el.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); // other notebooks' shortcuts
    const step = { ArrowUp: "1", ArrowDown: "-1" }[event.key];
    if (!step || !event.target.closest("[data-steps]")) return;
    event.preventDefault();
    fields.sayAll();
    if (!(event.repeat && sender.busy)) sender.tell({ step });
  });

  function show() {
    put(model.get("html"), el.querySelector(".hu-result"), root);
    fields.fill();
    sender.answered();
  }
  model.on("change:answered", show);
  show();
  return () => model.off("change:answered", show);
}

export default { render };
