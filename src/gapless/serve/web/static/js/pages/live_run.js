// The page of one thing that is being recorded: its streams, and the views that show what they bring.

import { byId, el, replace } from "../core/dom.js";
import { count } from "../core/format.js";
import { toast } from "../core/message.js";
import { channelGrid } from "../live/channels.js";
import { deadline } from "../live/deadline.js";
import { earlier } from "../live/earlier.js";
import { emergencyStop } from "../live/emergency.js";
import { cameraTable, deviceTable, queueTable, topicTable } from "../live/figures.js";
import { headline } from "../live/headline.js";
import { follow } from "../live/link.js";
import { noteForm } from "../live/notes.js";
import { operator } from "../live/operator.js";
import { orderForm } from "../live/orders.js";
import { livePictures } from "../live/pictures.js";
import { promptList } from "../live/prompts.js";
import { nextOfSession } from "../live/session.js";
import { stopButton } from "../live/stopping.js";
import { toldList } from "../live/told.js";

const name = byId("run").dataset.name;
const head = headline(byId("headline"), byId("ending"), name);
const before = earlier(name, (error) => toast(`The curves begin now: ${error.message}`, "warn"));
const channels = channelGrid(byId("channels"), before.want);
const told = toldList(byId("told"));
const cameras = cameraTable(byId("cameras"));
const pictures = livePictures(byId("pictures"), name);
const person = operator(byId("operator"));
const acts = [];
let run = null;
let rest = null;
let hello = null;

// There from the first moment: whether it may be used is for the server to say.
const emergency = emergencyStop(byId("emergency"), byId("emergency-told"), name, person.by);

/** The views that only a run with a control socket has. */
function controlled() {
  const views = {
    devices: deviceTable(byId("devices")),
    queues: queueTable(byId("queues")),
    deadline: deadline(byId("deadline")),
    prompts: promptList(byId("prompts"), name, person.by),
    orders: orderForm(byId("orders"), name, person.by),
  };
  const stop = stopButton(byId("stop"), name, person.by);
  acts.push(stop, views.prompts, views.orders, noteForm(byId("notes"), name, person.by));
  return views;
}

function show(section, wanted) {
  for (const node of document.querySelectorAll(`[data-for="${section}"]`)) node.hidden = !wanted;
}

function settle(words) {
  if (hello === null) {
    show("run", words.has_control);
    show("recording", !words.has_control);
    show("operate", words.has_control && words.may !== "read");
    if (words.has_control) run = controlled();
    else rest = topicTable(byId("topics"));
    if (!words.has_control || words.may === "read") emergency.close();
    replace(byId("no-control"), why(words));
  } else channels.part(); // the line was lost for a while
  hello = words;
  person.known(words.by);
  head.hello(words);
}

function why({ has_control: has, kind, may }) {
  if (!has) return el("p", { class: "muted" }, `This ${kind} takes no commands: it is ended where it was started.`);
  return may === "read" ? el("p", { class: "muted" }, "Your key may watch, and nothing else.") : null;
}

function status({ status: now, missed }) {
  head.status(now);
  told.missed(missed);
  rest?.(now.topics);
  if (run === null) return;
  if (now.devices === undefined) return durable(now);
  run.devices(now.devices);
  run.queues(now.hops);
  run.deadline(now);
  if (hello.may !== "read") run.prompts.show(now.procedure?.prompts ?? []);
}

/** Show what the journal of a run tells whose socket does not answer. */
function durable(now) {
  head.link("The run does not answer; what is shown is what is durable.");
  if (rest !== null) return;
  show("run", false);
  show("recording", true);
  rest = topicTable(byId("topics"));
  rest(now.topics);
}

function values(message) {
  byId("drawn").hidden = false;
  channels.take(message);
  byId("replaced").textContent = message.replaced > 0 ? replacedWords(message.replaced) : "";
  if (Object.keys(message.frames).length === 0) return;
  show("cameras", true);
  cameras(message.frames);
  pictures.take(message.frames);
}

function replacedWords(replaced) {
  const words = replaced === 1 ? "value was" : "values were";
  return `${count(replaced)} ${words} replaced by newer ones before this page took them; the recording has them all.`;
}

function about(description) {
  run?.orders.about(description);
  channels.about(description.channels ?? {});
}

function end(ended) {
  head.end(ended);
  finish();
  if (hello?.kind === "episode") nextOfSession(byId("ending"), name, hello.group);
}

function finish() {
  line.close();
  emergency.close();
  pictures.close();
  before.close();
  channels.end();
  show("run", false); // figures that stand still would look alive
  show("recording", false);
  for (const act of acts) act.close();
  show("operate", false);
  for (const busy of document.querySelectorAll("[aria-busy]")) busy.removeAttribute("aria-busy");
}

const line = follow(name, {
  hello: settle,
  about,
  status,
  event: told.event,
  gap: told.gap,
  samples: values,
  link: head.link,
  end,
  refused(error) {
    head.refused(error);
    finish();
    document.querySelector(".live-run > .split").hidden = true;
  },
});
