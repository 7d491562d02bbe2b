// Approving and rejecting a session, each asked back in a dialog.

import { post, segment } from "../core/api.js";
import { ask } from "../core/dialog.js";
import { toast } from "../core/message.js";
import { sessionName } from "./request_facts.js";

/** Ask whether a session may record; resolves to true once the hub knows. */
export function approve(task) {
  return decide(task, {
    title: `Approve ${sessionName(task)}?`,
    words: `${task.owner} may begin to record at once.`,
    confirm: "Approve",
    fields: [{ name: "reason", label: "A word to them (optional)" }],
    path: "approve",
    told: "approved",
  });
}

/** Ask why a session may not record; resolves to true once the hub knows. */
export function reject(task) {
  return decide(task, {
    title: `Reject ${sessionName(task)}?`,
    words: `${task.owner} is told the reason, and records nothing.`,
    confirm: "Reject",
    fields: [{ name: "reason", label: "Reason", required: true }],
    path: "reject",
    told: "rejected",
  });
}

async function decide(task, { path, told, ...question }) {
  const answer = await ask({
    ...question,
    work: ({ reason }) => post(`/hub/tasks/${segment(task.id)}/${path}`, { reason }),
  });
  if (answer === null) return false;
  toast(`${sessionName(task)} is ${told}.`);
  return true;
}
