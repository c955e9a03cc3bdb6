"use strict";
// Dragging across bits sets all that it crosses to what the first one becomes; what does not move is
// a click. The lab and the widgets begin with this text.
class Drag {
  constructor(el, root, tell) {
    Object.assign(this, { el, root, tell, first: null, cells: new Set() });
    el.addEventListener("pointerdown", (event) => this.begin(event));
    el.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) el.addEventListener(end, () => this.drop());
  }
  begin(event) {
    const cell = event.target.closest("button.hu-cell");
    if (!cell || event.button) return;
    this.first = this.last = cell;
    this.cells.clear();
    this.to = cell.getAttribute("aria-pressed") === "true" ? "0" : "1";
  }
  move(event) {
    const under = this.first && this.root.elementFromPoint(event.clientX, event.clientY);
    const cell = this.el.contains(under) ? under.closest("button.hu-cell") : null;
    if (!cell || cell === this.last) return;
    this.first.setPointerCapture(event.pointerId); // so that its end is told wherever it is
    const row = [...this.first.parentElement.children];
    const [from, to] = [this.last, cell].map((end) => row.indexOf(end)).sort((a, b) => a - b);
    row.slice(from, to + 1).forEach((crossed) => this.paint(crossed)); // a quick hand leaves some out
    this.last = cell;
  }
  paint(cell) {
    this.cells.add(cell);
    cell.setAttribute("aria-pressed", String(this.to === "1"));
    cell.textContent = this.to;
  }
  drop() {
    const { first } = this;
    this.first = null;
    if (!this.cells.size) return;
    const places = [...this.cells].map((cell) => cell.value).join(".");
    this.cells.clear();
    this.tell({ places, to: this.to }, first);
    // A click may follow at once, on the bit that the drag began on: it would flip that one.
    const stop = (event) => { event.preventDefault(); event.stopPropagation(); };
    this.el.addEventListener("click", stop, { capture: true });
    setTimeout(() => this.el.removeEventListener("click", stop, { capture: true }));
  }
}
