// Charts: history once, at the resolution of the screen, then only what is new is appended.
import { echarts } from "nicegui-echart";
import { clock, language, number, onMessage, word, zone } from "./screen.js";

const MOST = 4000; // points that a series keeps: more than a screen has pixels
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const charts = new Map();

function base() {
  const size = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const text = { color: css("--ink-soft"), fontFamily: "Roboto, sans-serif", fontSize: 0.78 * size };
  const axis = {
    axisLabel: { ...text, hideOverlap: true }, axisLine: { lineStyle: { color: css("--edge-strong") } },
    splitLine: { lineStyle: { color: css("--edge"), opacity: 0.6 } }, nameTextStyle: text,
  };
  return { size, text, axis };
}

const tip = (text) => ({
  backgroundColor: css("--raised"), borderColor: css("--edge-strong"), textStyle: { ...text, color: css("--ink") },
  extraCssText: "border-radius:2px", confine: true,
});

const onClock = new Intl.DateTimeFormat("en", {
  timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

/** A moment on the axis by the clock of the site: where a day begins, the day. */
function tick(milliseconds) {
  const { day, month, hour, minute, second } = Object.fromEntries(onClock.formatToParts(milliseconds).map(({ type, value }) => [type, value]));
  if (second !== "00") return `${hour}:${minute}:${second}`;
  return hour === "00" && minute === "00" ? `${day}.${month}.` : `${hour}:${minute}`;
}

function abscissa(kind, axis) {
  return kind === "web"
    ? { type: "value", scale: true, ...axis, axisLabel: { ...axis.axisLabel, formatter: (v) => `${number(v, 0)} m` } }
    : { type: "time", ...axis, axisLabel: { ...axis.axisLabel, formatter: tick }, axisPointer: { label: { formatter: ({ value }) => clock(value, true) } } };
}

function line(level, name, label) {
  return { yAxis: level, name, label: { formatter: label, position: "insideEndTop" } };
}

/** What charts of one parameter share; `bottom` is the room below, in text sizes. */
function frame(chart, bottom = 1.9) {
  const { size, text, axis } = base();
  return {
    animation: false, textStyle: text,
    grid: { left: 3.4 * size, right: 0.8 * size, top: 0.9 * size, bottom: bottom * size },
    xAxis: abscissa(chart.axis, axis),
    dataZoom: [{ type: "inside", filterMode: "none", zoomOnMouseWheel: "shift" }],
  };
}

/** A charted value as share of its limit, %. */
const ofLimit = (value, limit) => (value === null ? null : (100 * value) / limit);

/** The points of one line; where nothing came for long it is broken, not drawn through. */
function broken(chart, value) {
  const known = chart.points.filter((row) => value(row) !== null && value(row) !== undefined);
  if (known.length < 3) return known.map((row) => [row[0], value(row)]);
  const steps = known.slice(1).map((row, i) => row[0] - known[i][0]).sort((a, b) => a - b);
  const longest = Math.max(6 * steps[Math.floor(steps.length / 2)], (known.at(-1)[0] - known[0][0]) / 60);
  const points = [];
  known.forEach((row, i) => {
    if (i && row[0] - known[i - 1][0] > longest) points.push([(row[0] + known[i - 1][0]) / 2, null]);
    points.push([row[0], value(row)]);
  });
  return points;
}

/** Predicted against measured with its interval, target and limits. */
function trendOption(chart) {
  const { text, axis } = base();
  const { data } = chart, digits = data.digits;
  const lines = [];
  if (data.target !== null) lines.push({ ...line(data.target, "target", word("target")), lineStyle: { type: "dashed", color: css("--edge-strong"), width: 1.5 } });
  for (const limit of data.limits ?? []) lines.push({ ...line(limit, "limit", ""), lineStyle: { type: "solid", color: css("--edge-strong"), width: 1.5 } });
  const at = (column) => broken(chart, (row) => row[column]);
  const both = (value) => broken(chart, (row) => (row[2] === null || row[3] === null ? null : value(row)));
  return {
    ...frame(chart),
    tooltip: { trigger: "axis", ...tip(text), formatter: (rows) => tooltip(rows, chart), axisPointer: { lineStyle: { color: css("--edge-strong") } } },
    yAxis: { type: "value", scale: true, ...axis, axisLabel: { ...axis.axisLabel, formatter: (v) => number(v, digits) } },
    series: [
      { id: "low", type: "line", stack: "band", stackStrategy: "all", symbol: "none", silent: true, lineStyle: { opacity: 0 }, data: both((row) => row[2]) },
      { id: "band", type: "line", stack: "band", stackStrategy: "all", symbol: "none", silent: true, lineStyle: { opacity: 0 }, areaStyle: { color: css("--twin"), opacity: 0.22 }, data: both((row) => row[3] - row[2]) },
      { id: "said", type: "line", name: word("predicted"), symbol: "none", color: css("--twin"), lineStyle: { width: 2.5 }, data: at(1), markLine: { symbol: "none", silent: true, animation: false, data: lines, label: { ...text } } },
      { id: "read", type: "line", name: word("measured"), symbol: "none", color: css("--ink"), lineStyle: { width: 1.8 }, data: at(4) },
    ],
  };
}

function tooltip(rows, chart) {
  if (!rows.length) return "";
  const at = rows[0].value[0];
  const row = chart.points.find((each) => each[0] === at);
  if (!row) return "";
  const where = chart.axis === "web" ? `${number(row[0], 1)} m` : clock(row[0], true);
  const value = (column) => `${number(row[column], chart.data.digits)} ${chart.data.unit}`;
  const band = row[2] === null ? "" : `<br>${word("interval")}: ${number(row[2], chart.data.digits)} … ${value(3)}`;
  return `${where}<br>${word("predicted")}: <b>${value(1)}</b>${band}<br>${word("measured")}: <b>${value(4)}</b>`;
}

/** Measured less predicted with the limits within which it wanders by chance. */
function residualOption(chart) {
  const { text, axis } = base();
  const { data } = chart;
  const outside = (value) => data.control && value !== null && (value < data.control.low || value > data.control.high);
  const limits = data.control ? [
    { ...line(data.control.high, "high", word("control_limit")), lineStyle: { type: "dashed", color: css("--edge-strong"), width: 1.5 } },
    { ...line(data.control.center, "center", ""), lineStyle: { type: "solid", color: css("--edge-strong"), width: 1 } },
    { ...line(data.control.low, "low", ""), lineStyle: { type: "dashed", color: css("--edge-strong"), width: 1.5 } },
  ] : [];
  return {
    ...frame(chart),
    tooltip: { trigger: "axis", ...tip(text), valueFormatter: (v) => `${number(v, data.digits + 1)} ${data.unit}` },
    yAxis: { type: "value", scale: false, ...axis, axisLabel: { ...axis.axisLabel, formatter: (v) => number(v, data.digits) },
      min: data.control ? (v) => Math.min(v.min, 1.25 * data.control.low) : undefined, max: data.control ? (v) => Math.max(v.max, 1.25 * data.control.high) : undefined },
    series: [{
      id: "residual", type: "scatter", name: word("residual"), symbolSize: (v) => (outside(v[1]) ? 9 : 4), large: false,
      symbol: (v) => (outside(v[1]) ? "rect" : "circle"),
      itemStyle: { color: (p) => (outside(p.value[1]) ? css("--urgent") : css("--ink-soft")) },
      data: chart.points.filter((row) => row[5] !== null).map((row) => [row[0], row[5]]),
      markLine: { symbol: "none", silent: true, animation: false, data: limits, label: { ...text } },
    }],
  };
}

/** EWMA and CUSUM of the residuals, each as share of its limit. */
function controlOption(chart) {
  const { size, text, axis } = base();
  const { charts: limits } = chart.data;
  const share = (column, limit) => broken(chart, (row) => ofLimit(row[column], limit));
  const ends = [100, 0, -100].map((level) => ({ ...line(level, String(level), level === 100 ? word("control_limit") : ""), lineStyle: { type: level ? "dashed" : "solid", color: css("--edge-strong"), width: level ? 1.5 : 1 } }));
  return {
    ...frame(chart, 3.2),
    legend: { bottom: 0, left: 3.4 * size, itemStyle: { opacity: 0 }, textStyle: text, data: [word("ewma"), word("cusum")] },
    tooltip: { trigger: "axis", ...tip(text), valueFormatter: (v) => `${number(v, 0)} % ${word("of_limit")}` },
    yAxis: { type: "value", ...axis, splitNumber: 4, axisLabel: { ...axis.axisLabel, formatter: (v) => `${number(v, 0)} %` }, min: (v) => Math.min(v.min, -130), max: (v) => Math.max(v.max, 130) },
    series: [
      { id: "ewma", type: "line", name: word("ewma"), symbol: "none", color: css("--ink"), lineStyle: { width: 1.8 }, data: share(6, limits.ewma), markLine: { symbol: "none", silent: true, animation: false, data: ends, label: { ...text } } },
      { id: "cusum", type: "line", name: word("cusum"), symbol: "none", color: css("--ink-soft"), lineStyle: { width: 1.5, type: "dotted" }, data: share(7, limits.cusum) },
    ],
  };
}

/** A structure parameter along the rolls, and across them where a gauge traverses. */
function mapOption(chart) {
  const { size, text, axis } = base();
  const { data } = chart;
  const lanes = data.lanes;
  // what is outside its limits is no shade of a colour
  const cell = (value) => data.limited && (value[2] < data.low || value[2] > data.high)
    ? { value, visualMap: false, itemStyle: { color: css("--urgent"), decal: { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [3, 5], rotation: -Math.PI / 4, color: css("--on-urgent") } } }
    : value;
  return {
    animation: false, textStyle: text,
    grid: { left: 4.4 * size, right: 7.2 * size, top: 0.4 * size, bottom: 1.9 * size },
    tooltip: { ...tip(text), formatter: (p) => `${number(data.x[p.value[0]], 1)} m${lanes.length > 1 ? `, ${lanes[p.value[1]]}` : ""}<br><b>${number(p.value[2], data.digits)} ${data.unit}</b>` },
    xAxis: { type: "category", data: data.x.map((v) => number(v, 0)), ...axis, splitLine: { show: false }, axisLabel: { ...axis.axisLabel, formatter: "{value} m", interval: Math.max(1, Math.floor(data.x.length / 8)) } },
    yAxis: { type: "category", data: lanes, ...axis, splitLine: { show: false } },
    visualMap: {
      min: data.low, max: data.high, dimension: 2, calculable: false, orient: "vertical", right: 0, top: "middle", itemHeight: chart.element.clientHeight - 4.6 * size, itemWidth: 0.8 * size, precision: data.digits,
      textStyle: text, text: [`${number(data.high, data.digits)} ${data.unit}`, `${number(data.low, data.digits)} ${data.unit}`],
      inRange: { color: chart.root.dataset.theme === "dark" ? ["#3d8bd6", "#2a3035", "#f0a14a"] : ["#0b5394", "#f4f5f5", "#b45000"] },
      outOfRange: { color: [css("--urgent")] },
    },
    series: [{ id: "map", type: "heatmap", data: data.cells.map(cell), progressive: 4000, emphasis: { disabled: true } }],
  };
}

/** Several series over the same time, each on a scale of its own: six of a day at once. */
function seriesOption(chart) {
  const { size, text, axis } = base();
  const { series, start, end } = chart.data;
  const share = 100 / Math.max(series.length, 1);
  const each = (make) => series.map((one, index) => make(one, index));
  const last = series.length - 1;
  return {
    animation: false, textStyle: text,
    title: each((one, i) => ({ text: `${one.label}, ${one.unit}`, left: 3.6 * size, top: `${i * share}%`, textStyle: { ...text, fontWeight: 500, color: css("--ink") } })),
    grid: each((one, i) => ({ left: 3.6 * size, right: 0.8 * size, top: `${i * share + share * 0.24}%`, height: `${share * (i === last ? 0.52 : 0.62)}%` })),
    tooltip: { trigger: "axis", ...tip(text), valueFormatter: (v) => number(v, 2) },
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    xAxis: each((one, i) => ({ ...abscissa("time", axis), gridIndex: i, min: start, max: end, axisLabel: { ...abscissa("time", axis).axisLabel, show: i === last } })),
    yAxis: each((one, i) => ({ type: "value", scale: true, gridIndex: i, splitNumber: 2, ...axis })),
    dataZoom: [{ type: "inside", filterMode: "none", zoomOnMouseWheel: "shift", xAxisIndex: "all" }],
    series: each((one, i) => ({ id: one.name, name: one.label, type: "line", xAxisIndex: i, yAxisIndex: i, symbol: "none", step: "end", color: css("--ink"), lineStyle: { width: 1.5 }, data: one.points })),
  };
}

const options = { trend: trendOption, residual: residualOption, control: controlOption, map: mapOption, series: seriesOption };

function draw(chart) {
  if (!chart.data) return;
  const began = performance.now();
  chart.echart.setOption({ useUTC: zone === "UTC", ...options[chart.kind](chart) }, { notMerge: true, lazyUpdate: false });
  const empty = chart.kind === "map" ? !chart.data.cells.length : chart.kind === "series" ? !chart.data.series.some((s) => s.points.length) : !chart.points.length;
  chart.element.parentElement.querySelector(".none")?.classList.toggle("hidden", !empty);
  chart.drawn = performance.now() - began;
  describe(chart);
}

/** What a chart shows, for those who do not see it. */
function describe(chart) {
  const last = chart.points?.at(-1);
  const said = chart.element.dataset.title ?? "";
  if (!last) { chart.element.setAttribute("aria-label", said); return; }
  const value = (column) => number(last[column], chart.data.digits);
  const share = (column, limit) => `${number(ofLimit(last[column], limit), 0)} %`;
  chart.element.setAttribute("aria-label", chart.kind === "residual" ? `${said}: ${value(5)} ${chart.data.unit}`
    : chart.kind === "control" ? `${said}: ${word("ewma")} ${share(6, chart.data.charts.ewma)}, ${word("cusum")} ${share(7, chart.data.charts.cusum)}`
    : `${said}: ${word("predicted")} ${value(1)}, ${word("measured")} ${value(4)} ${chart.data.unit}`);
}

const underway = new Map();

/** The history at an address; charts that want the same at once ask once. */
function history(source) {
  if (!underway.has(source)) {
    const answer = fetch(source, { credentials: "same-origin" }).then((each) => (each.ok ? each.json() : null));
    underway.set(source, answer.finally(() => underway.delete(source)));
  }
  return underway.get(source);
}

async function load(chart) {
  const asked = (chart.asked = (chart.asked ?? 0) + 1);
  const began = performance.now();
  const data = await history(chart.source);
  if (!data || asked !== chart.asked) return;
  chart.data = data;
  // charts of the same history append to it on their own
  chart.points = (data.points ?? []).map((row) => [...row]);
  draw(chart);
  chart.element.dataset.ready = String(Math.round(performance.now() - began));
}

/** Only what is new goes in; what the history already has is left out. */
function append(chart, rows) {
  const web = chart.axis === "web";
  const fresh = rows.filter((row) => row[0] >= chart.data.end && (!web || row[1] !== null));
  if (!fresh.length) return;
  const points = chart.points;
  points.push(...fresh.map((row) => [row[web ? 1 : 0], ...row.slice(2)]));
  const newest = points.at(-1)[0];
  if (web) {
    // a calender unwinds from the outside: positions may run backwards
    points.sort((a, b) => a[0] - b[0]);
    if (points.length > MOST) newest - points[0][0] > points.at(-1)[0] - newest ? points.splice(0, points.length - MOST) : (points.length = MOST);
  } else {
    let gone = Math.max(0, points.length - MOST);
    while (chart.span && gone < points.length && points[gone][0] < newest - chart.span) gone += 1;
    points.splice(0, gone);
  }
  const option = options[chart.kind](chart);
  chart.echart.setOption({ series: option.series.map(({ id, data }) => ({ id, data })) }, { lazyUpdate: true });
  chart.element.parentElement.querySelector(".none")?.classList.add("hidden");
  describe(chart);
}

function make(element) {
  const echart = echarts.init(element, null, { renderer: "canvas" });
  const chart = {
    element, echart, root: document.documentElement, kind: element.dataset.chart, source: element.dataset.source,
    axis: element.dataset.axis ?? "time", follows: element.dataset.follows, span: Number(element.dataset.span ?? 0), points: [],
  };
  echart.getDom().setAttribute("role", "img");
  new ResizeObserver(() => echart.resize()).observe(element);
  charts.set(element, chart);
  load(chart);
}

function look() {
  for (const [element, chart] of charts) {
    if (!element.isConnected) { chart.echart.dispose(); charts.delete(element); }
    else if (element.dataset.source !== chart.source) {
      Object.assign(chart, { source: element.dataset.source, axis: element.dataset.axis ?? "time", follows: element.dataset.follows, span: Number(element.dataset.span ?? 0) });
      load(chart);
    }
  }
  for (const element of document.querySelectorAll("[data-chart]")) if (!charts.has(element)) make(element);
}

onMessage((message) => {
  for (const chart of charts.values()) {
    if (message.full && chart.data) { load(chart); continue; }
    const rows = message.trends?.[chart.follows];
    if (rows?.length && chart.data) append(chart, rows);
  }
});
addEventListener("twin-theme", () => { for (const chart of charts.values()) draw(chart); });
new MutationObserver(look).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-source"] });
look();
window.twinCharts = charts;
