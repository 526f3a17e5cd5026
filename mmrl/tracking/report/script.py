"""Script of the report page, inlined; the only one that may run there."""

SCRIPT = """
"use strict";
const short = v => v === null || v === undefined ? "–" : Math.abs(v) >= 1e4 || (v !== 0 && Math.abs(v) < 1e-3)
  ? v.toExponential(2) : String(+v.toPrecision(4));
for (const svg of document.querySelectorAll("svg.chart")) {
  const data = JSON.parse(svg.dataset.chart), [first, last, left, right] = data.frame;
  const cross = svg.querySelector(".cross"), tip = svg.parentNode.querySelector(".tip");
  const steps = [...new Set(data.series.flatMap(s => s.x))].sort((a, b) => a - b);
  let at = steps.length - 1;
  const show = index => {
    at = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[at], x = left + (step - first) / Math.max(1, last - first) * (right - left);
    cross.setAttribute("x1", x); cross.setAttribute("x2", x); cross.setAttribute("visibility", "visible");
    const rows = data.series.filter(s => s.x.includes(step)).map(s =>
      (data.series.length > 1 ? s.label + "  " : "") + short(s.y[s.x.indexOf(step)]) +
      (s.bars && s.bars[step] ? "  (" + s.bars[step].map(short).join(" – ") + ")" : ""));
    tip.textContent = ["step " + step, ...rows].join("\\n");
    tip.hidden = false;
    const frame = svg.getBoundingClientRect(), outer = svg.parentNode.getBoundingClientRect();
    const spot = frame.left - outer.left + x / svg.viewBox.baseVal.width * frame.width, room = outer.width;
    const fits = spot + 12 + tip.offsetWidth < room - 6;
    tip.style.left = (fits ? spot + 12 : Math.max(6, spot - 12 - tip.offsetWidth)) + "px";
    tip.style.top = frame.top - outer.top + 34 + "px";
  };
  const hide = () => { tip.hidden = true; cross.setAttribute("visibility", "hidden"); };
  const seek = event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const step = first + (x - left) / (right - left) * (last - first);
    let best = 0;
    steps.forEach((s, i) => { if (Math.abs(s - step) < Math.abs(steps[best] - step)) best = i; });
    show(best);
  };
  svg.addEventListener("pointermove", seek);
  svg.addEventListener("pointerdown", seek);
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", event => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) { show(at + move); event.preventDefault(); }
  });
}
for (const answer of document.querySelectorAll(".answer")) {
  const pictures = answer.closest("article").querySelectorAll(".picture");
  const pick = on => pictures.forEach(picture => {
    const mine = picture.querySelectorAll('.guess[data-answer="' + answer.dataset.answer + '"]');
    picture.classList.toggle("picked", on && mine.length > 0);
    picture.querySelectorAll(".guess").forEach(g => g.classList.remove("on"));
    mine.forEach(g => g.classList.toggle("on", on));
  });
  answer.addEventListener("pointerenter", () => pick(true));
  answer.addEventListener("pointerleave", () => pick(false));
}
// Filters and sorts a section's cards: answers by what they earned, cards and answers by reward.
for (const section of document.querySelectorAll(".sifted")) {
  const field = name => section.querySelector('.sift [name="' + name + '"]');
  const total = section.querySelector(".sift output"), cards = [...section.querySelectorAll("article")];
  const value = node => node.dataset.reward === "" ? NaN : Number(node.dataset.reward);
  const count = nodes => nodes.reduce((sum, node) => sum + Number(node.dataset.count), 0);
  const inside = (node, low, high, outcome) => {
    if ((low !== "" && !(value(node) >= Number(low))) || (high !== "" && !(value(node) <= Number(high)))) return false;
    if (["cut", "failed", "split"].includes(outcome)) return node.dataset[outcome] === "yes";
    if (outcome === "right") return node.dataset.accuracy === "1.0";
    return outcome !== "wrong" || (node.dataset.accuracy !== "" && node.dataset.accuracy !== "1.0");
  };
  // What has no reward comes last, whichever way; what is equal stays as written.
  const sorted = (nodes, order, reward) => !order ? nodes : nodes.map(node => [node, reward(node)]).sort((a, b) =>
    Number.isNaN(a[1]) || Number.isNaN(b[1]) ? Number.isNaN(a[1]) - Number.isNaN(b[1])
      : order === "up" ? a[1] - b[1] : b[1] - a[1]).map(pair => pair[0]);
  const written = new Map(cards.map(card => [card, [...card.querySelectorAll(".answer")]]));
  const every = cards.flatMap(card => written.get(card));
  const mean = card => {
    const known = written.get(card).filter(node => !node.hidden && !Number.isNaN(value(node)));
    return known.reduce((sum, node) => sum + value(node) * node.dataset.count, 0) / count(known);
  };
  const sift = event => {
    const [task, outcome, low, high, order] = ["task", "outcome", "low", "high", "order"].map(n => field(n).value);
    for (const card of cards) {
      const answers = written.get(card);
      answers.forEach(node => { node.hidden = !inside(node, low, high, outcome); });
      card.hidden = (task !== "" && card.dataset.task !== task) || answers.every(node => node.hidden);
      sorted(answers, order, value).forEach((node, i) => answers[i].parentNode.insertBefore(node, null));
    }
    for (const place of section.querySelectorAll(".cards"))
      sorted(cards.filter(card => place.contains(card)), order, mean).forEach(card => place.append(card));
    const left = cards.filter(card => !card.hidden).flatMap(card => written.get(card)).filter(node => !node.hidden);
    // What was asked for is not left in a folded step.
    if (event) left.forEach(node => { node.closest("details").open = true; });
    total.textContent = count(left) + " of " + count(every) + " answers";
  };
  section.querySelector(".sift").addEventListener("input", sift);
  sift();
}
// Each token shaded by how unlikely it was; what a model wrote only ever becomes text.
for (const button of document.querySelectorAll(".spell")) {
  let shown = null;
  button.addEventListener("click", () => {
    const plain = button.parentNode.querySelector(".text");
    if (!shown) {
      const data = JSON.parse(button.parentNode.querySelector(".spelled").textContent);
      const pre = document.createElement("pre"), note = document.createElement("p");
      let joined = 0, sum = 0;
      data.tokens.forEach((token, i) => {
        const p = data.log_probs[i];
        joined += p; sum += p;
        if (token === "") return;
        const span = document.createElement("span");
        span.className = "token";
        span.textContent = token;
        span.title = p === null ? "not known" : "log p " + joined.toFixed(3) + ", p " + Math.exp(joined).toFixed(3);
        span.style.backgroundColor = "rgba(214, 64, 11, " + Math.min(0.75, -joined * 0.15).toFixed(3) + ")";
        joined = 0;
        pre.append(span);
      });
      pre.className = "text";
      note.className = "muted sum";
      note.textContent = "log p of the " + (data.more ? "first " : "") + data.tokens.length + " tokens: " +
        sum.toFixed(2) + ", mean " + (sum / Math.max(1, data.tokens.length)).toFixed(3) +
        (data.more ? "; " + data.more + " more are in the file" : "");
      shown = document.createElement("div");
      shown.append(pre, note);
      button.before(shown);
    } else shown.hidden = !shown.hidden;
    if (plain) plain.hidden = !shown.hidden;
    button.setAttribute("aria-pressed", String(!shown.hidden));
  });
}
for (const video of document.querySelectorAll(".film video")) {
  // A small film is half hidden behind its controls, which are there while it is pointed at or focused.
  const show = on => {
    video.controls = on;
    video.parentNode.classList.toggle("still", !on && video.paused);
  };
  video.tabIndex = 0;
  show(false);
  video.addEventListener("pointerenter", () => show(true));
  video.addEventListener("focus", () => show(true));
  video.addEventListener("pointerleave", () => show(document.activeElement === video));
  video.addEventListener("blur", () => show(false));
}
document.documentElement.dataset.ready = "yes";
"""
