// The page of the hub: who waits for approval, what was decided, and what became of it. It renews itself.

import { get } from "../core/api.js";
import { byId, replace } from "../core/dom.js";
import { busy, failed } from "../core/message.js";
import { onReturn, read, write } from "../core/place.js";
import { repeating } from "../features/repeating.js";
import { History } from "../hub/history.js";
import { SessionView } from "../hub/session_view.js";
import { Waiting } from "../hub/waiting.js";

const EVERY_MS = 2000;
const DECIDERS = ["write", "delete", "manage"];
const state = byId("state");

begin();

async function begin() {
  busy(byId("waiting"));
  try {
    const { caller } = await get("/info");
    follow(DECIDERS.includes(caller.right));
  } catch (error) {
    failed(byId("waiting"), error, begin);
  }
}

function follow(mayDecide) {
  const session = new SessionView(byId("session"), () => choose(null));
  const history = new History(byId("history"), choose);
  const waiting = new Waiting(byId("waiting"), { mayDecide, decided: () => asking.now() });
  let newest = null;

  const draw = () => {
    const chosen = read().get("task") ?? null;
    if (newest !== null) history.show(newest, chosen);
    return session.show(chosen);
  };
  const asking = repeating(
    async () => {
      newest = await get("/hub/tasks");
      replace(state);
      waiting.show(newest.waiting);
      await draw();
    },
    EVERY_MS,
    (error) => {
      if (newest === null) failed(byId("waiting"), error);
      else replace(state, `${error.message}; shown is what was known before`);
    },
  );
  onReturn(draw);

  async function choose(id) {
    write({ task: id }, { push: true });
    await draw();
    if (id !== null) byId("session").scrollIntoView({ block: "nearest" });
  }
}
