// What HTML and htmx have no word for: figures, dragging across bits, arrow keys, copying, uploads.

// Figures are data of the server, drawn as on paper; the style sheet turns their colours at night.
function draw(part) {
  for (const box of part.querySelectorAll(".figure:not([data-drawn])")) {
    const data = box.querySelector("script[type='application/json']");
    if (!data || !window.Plotly) continue;
    box.dataset.drawn = "yes";
    const { data: traces, layout } = JSON.parse(data.textContent);
    const name = layout.title?.text?.replace(/<[^>]*>/g, "") || box.dataset.name;
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // fingers scroll the page
    const plot = document.createElement("div");
    for (const [part, role] of [[box, "group"], [plot, "img"]]) {
      part.setAttribute("role", role);
      part.setAttribute("aria-label", name);
    }
    box.tabIndex = 0; // on phones it is wider than the page, and scrolls
    box.append(plot);
    window.Plotly.newPlot(plot, traces, layout, { displayModeBar: false, responsive: true });
    const tools = document.createElement("p");
    tools.className = "figure-tools";
    for (const format of ["png", "svg"]) {
      const save = Object.assign(document.createElement("button"), { type: "button", textContent: format.toUpperCase() });
      save.setAttribute("aria-label", `${name}: ${format.toUpperCase()}`);
      save.addEventListener("click", () => window.Plotly.downloadImage(plot, { format, filename: `halfulp-${box.dataset.name}`, width: 1000, height: plot.offsetHeight || 450 }));
      tools.append(save);
    }
    box.after(tools);
  }
}
document.addEventListener("htmx:beforeCleanupElement", (event) => {
  if (event.target.matches?.(".js-plotly-plot")) window.Plotly.purge(event.target);
});

// A figure may come before its script does: then that is fetched once, from this server.
function figures(part) {
  if (!part.querySelector(".figure:not([data-drawn])")) return;
  if (window.Plotly) return draw(part);
  if (!document.querySelector("script[data-plotly]") && !document.querySelector("script[src*='plotly']")) {
    const script = Object.assign(document.createElement("script"), { src: "/static/plotly.js" });
    script.dataset.plotly = "yes";
    script.addEventListener("load", () => draw(document));
    document.head.append(script);
  }
}

new Drag(document, document, (values, { form, parentElement: source }) => {
  // From the form itself the pressed bit went along.
  window.htmx.ajax("GET", form.getAttribute("action"), { source, target: "#view", swap: "outerHTML", values: { ...Object.fromEntries(new FormData(form)), ...values } });
});

// ↑ and ↓ among the bits, and in the number: the next numbers of the format. A key that is held is
// faster than answers: what comes in between goes together with the next request.
let ahead = 0;
function step() {
  const button = document.getElementById("step-up");
  if (!ahead || !button || document.querySelector("#state.htmx-request")) return;
  button.value = ahead;
  ahead = 0;
  button.click();
}
document.addEventListener("keydown", (event) => {
  const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!by || !event.target.closest("[data-steps]")) return;
  event.preventDefault();
  ahead += by;
  step();
});
document.addEventListener("htmx:afterSettle", step);

// Where what was pressed is no more, whoever goes on by keyboard goes on at the top.
document.addEventListener("htmx:afterSettle", ({ target }) => {
  if (target.id === "view" && document.activeElement === document.body) target.focus({ preventScroll: true });
});

// What is typed replaces what was asked for before, whose answer would replace what is typed.
document.addEventListener("input", (event) => window.htmx?.trigger(event.target.form ?? document.body, "htmx:abort"));

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  const said = document.getElementById(copy.dataset.copy);
  // Not every browser lets pages write there, and none a page that came over a network by http.
  const copied = await navigator.clipboard?.writeText(said.textContent).then(() => true, () => false);
  if (copied) copy.dataset.copied = "yes";
  else getSelection().selectAllChildren(said);
});

// A file goes to the server as its bytes; what comes back is its name there.
document.addEventListener("change", async (event) => {
  const input = event.target.closest("[data-upload]");
  if (!input || !input.files.length) return;
  event.stopPropagation();
  const answer = await fetch("/upload", { method: "POST", body: input.files[0] }).catch(() => null);
  const told = document.getElementById("upload-told");
  const text = answer ? await answer.text() : "";
  if (!answer || !answer.ok) { told.textContent = text || told.dataset.failed; told.hidden = false; return; }
  const url = new URL(location.href);
  url.searchParams.set("source", `upload:${text}`);
  location.assign(url);
}, true);

for (const when of ["DOMContentLoaded", "htmx:load", "htmx:afterSettle"]) document.addEventListener(when, () => figures(document));
