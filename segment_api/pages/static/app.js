// Keeps the pages fresh: what has `data-live` is fetched again when the server says that something is new.
// Charts are drawn from specifications that stand in the page. Without this script the pages are the same, only still.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function theme() {
  const soft = css("--soft"), line = css("--line");
  return {
    background: "transparent", font: "ui-sans-serif, system-ui, sans-serif", padding: 4,
    view: { stroke: null },
    axis: { labelColor: soft, titleColor: soft, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", grid: true },
    legend: { labelColor: soft, titleColor: soft, labelFontSize: 12, orient: "bottom", title: null, labelLimit: 220 },
  };
}

// "var(--s0)" in a specification becomes the colour of the present palette.
const painted = (text) => text.replace(/var\((--[a-z0-9-]+)\)/g, (_, name) => css(name));

async function draw(chart) {
  const source = chart.querySelector("script[type='application/json']");
  const plot = chart.querySelector(".plot");
  if (!source || !plot) return;
  const key = source.textContent + matchMedia("(prefers-color-scheme: dark)").matches + plot.clientWidth;
  if (plot.dataset.drawn === key) return;
  plot.dataset.drawn = key;
  if (!window.vegaEmbed) await import("/static/vega.js").catch(() => null);
  if (!window.vegaEmbed) { plot.hidden = true; chart.querySelector("details")?.setAttribute("open", ""); return; }
  const spec = JSON.parse(painted(source.textContent));
  const fresh = document.createElement("div");
  const made = await window.vegaEmbed(fresh, { ...spec, config: theme(), width: Math.max(200, plot.clientWidth - 8), autosize: { type: "fit", contains: "padding" } },
    { ast: true, actions: false, defaultStyle: false, renderer: "canvas", tooltip: false });
  plot.replaceChildren(fresh); // only now, so that the old picture stands until the new one is there
  const canvas = fresh.querySelector("canvas");
  canvas?.setAttribute("aria-hidden", "true");
  if (chart.dataset.pick) made.view.addEventListener("click", (event, item) => pick(chart, made.view, event));
}

async function pick(chart, view, event) {
  const [left, top] = view.origin();
  const box = view.container().querySelector("canvas").getBoundingClientRect();
  const x = view.scale("x").invert(event.clientX - box.left - left);
  const y = view.scale("y").invert(event.clientY - box.top - top);
  const answer = await fetch(`${chart.dataset.pick}?x=${x}&y=${y}`);
  if (answer.ok) location.href = (await answer.json()).page;
}

const drawAll = () => all("[data-chart]").forEach(draw);

let refreshing = false;
async function refresh(url = location.href) {
  if (refreshing || document.hidden) return;
  refreshing = true;
  try {
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname === "/login") { location.href = answer.url; return; }
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const now of all("[data-live]")) {
      const then = page.getElementById(now.id);
      if (!then || now.contains(document.activeElement) && now.dataset.live !== "always") continue;
      if (now.hasAttribute("data-chart")) {
        const [a, b] = [now, then].map((el) => el.querySelector("script[type='application/json']"));
        const [c, d] = [now, then].map((el) => el.querySelector("details table"));
        if (a && b && a.textContent !== b.textContent) { a.textContent = b.textContent; if (c && d) c.replaceWith(d); draw(now); }
      } else if (now.innerHTML !== then.innerHTML) now.innerHTML = then.innerHTML;
    }
    drawAll();
  } finally { refreshing = false; }
}

function follow() {
  const dot = document.querySelector("#live-dot"), text = document.querySelector("#live-text");
  const source = new EventSource("/live");
  const say = (on) => { dot?.classList.toggle("live", on); dot?.classList.toggle("off", !on); if (text) text.textContent = on ? "Live" : "Reconnecting"; };
  source.addEventListener("open", () => say(true));
  source.addEventListener("error", () => say(false));
  source.addEventListener("tick", () => refresh());
}

function trying(form) {
  let waiting;
  const ask = () => {
    for (const field of all("input[type=range]", form)) form.querySelector(`output[for="${field.id}"]`).textContent = Number(field.value).toLocaleString("en");
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const url = `${form.action}?${new URLSearchParams(new FormData(form))}`;
      history.replaceState(null, "", url);
      refresh(url);
    }, 120);
  };
  form.addEventListener("input", ask);
  form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
}

function asking(button) {
  const dialog = document.getElementById(button.dataset.dialog);
  button.addEventListener("click", () => {
    dialog.querySelector("[data-model]").textContent = button.dataset.model;
    dialog.querySelector("form").dataset.action = button.dataset.action;
    dialog.showModal();
  });
}

function switching(dialog) {
  const form = dialog.querySelector("form"), said = dialog.querySelector("[role=alert]");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await fetch(form.dataset.action, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ reason: form.elements.reason.value }),
    });
    if (answer.ok) location.reload();
    else said.textContent = (await answer.json()).detail;
  });
}

drawAll();
all("form[data-try]").forEach(trying);
all("button[data-dialog]").forEach(asking);
all("dialog").forEach(switching);
if (document.body.dataset.follow) follow();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let resized;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(drawAll, 200); });
