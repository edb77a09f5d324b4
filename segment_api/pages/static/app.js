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
  if (plot.clientWidth < 440 && spec.encoding?.color?.legend) spec.encoding.color.legend.columns = 1;
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

let refreshing = false, wanted = null;
async function refresh(url = location.href) {
  if (document.hidden) return;
  if (refreshing) { wanted = url; return; } // asked while an answer is under way: the last one is asked for after it
  refreshing = true;
  try {
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname === "/login") { location.href = answer.url; return; }
    if (!answer.ok) return;
    if (document.querySelector("#trouble")) { location.reload(); return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const now of all("[data-live]")) {
      const then = page.getElementById(now.id);
      if (!then || now.contains(document.activeElement) && now.dataset.live !== "always") continue;
      if (now.hasAttribute("data-chart") !== then.hasAttribute("data-chart")) now.replaceWith(document.importNode(then, true));
      else if (now.hasAttribute("data-chart")) {
        const [a, b] = [now, then].map((el) => el.querySelector("script[type='application/json']"));
        const [c, d] = [now, then].map((el) => el.querySelector("details table"));
        if (a && b && a.textContent !== b.textContent) { a.textContent = b.textContent; if (c && d) c.replaceWith(d); draw(now); }
      } else if (text(now) !== text(then)) {
        const open = all("details[open]", now).map((el) => el.id);
        now.innerHTML = then.innerHTML;
        for (const id of open) if (id) now.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
      }
    }
    drawAll();
  } finally {
    refreshing = false;
    if (wanted) { const next = wanted; wanted = null; refresh(next); }
  }
}

// What stands in an element, whether its parts are folded or not.
const text = (element) => element.innerHTML.replaceAll(' open=""', "");

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

// A dialog asks before something is done: its form says where to send what, the button says of whom.
async function send(form, body) {
  const answer = await fetch(form.dataset.action, {
    method: form.dataset.method ?? "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  return { ok: answer.ok, said: await answer.json() };
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-dialog]");
  if (!button) return;
  const dialog = document.getElementById(button.dataset.dialog), form = dialog.querySelector("form");
  for (const name of ["model", "what"]) for (const el of all(`[data-${name}]`, form)) el.textContent = button.dataset[name];
  if (button.dataset.action) form.dataset.action = button.dataset.action;
  form.dataset.body = button.dataset.body ?? "{}";
  dialog.querySelector("[role=alert]").textContent = "";
  dialog.showModal();
  const count = dialog.querySelector("[data-said]");
  if (!count) return;
  count.textContent = "Counting…";
  const { ok, said } = await send(form, { ...JSON.parse(form.dataset.body), dry_run: true });
  form.querySelector(".main-act").disabled = !ok || !said.sent;
  count.textContent = !ok ? said.detail : `${said.sent.toLocaleString("en")} would be sent to their source again. `
    + (said.exhausted ? `${said.exhausted.toLocaleString("en")} have come back too often. ` : "") + (said.truncated ? `${said.truncated.toLocaleString("en")} were too large to be kept whole.` : "");
});

function confirming(dialog) {
  const form = dialog.querySelector("form"), wrong = dialog.querySelector("[role=alert]");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { ok, said } = await send(form, { ...JSON.parse(form.dataset.body ?? "{}"), ...Object.fromEntries(new FormData(form)) });
    if (!ok) wrong.textContent = said.detail;
    else if ("stay" in form.dataset) { dialog.close(); refresh(); }
    else location.reload();
  });
}

document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
drawAll();
all("form[data-try]").forEach(trying);
all("dialog").forEach(confirming);
if (document.body.dataset.follow) follow();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let resized;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(drawAll, 200); });
