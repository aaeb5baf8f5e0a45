/** What is told only where there is something to tell: files that were saved, and what went wrong. */

import * as failing from "./failing.js";
import { at, element, maybe } from "./page.js";
import * as view from "./view.js";

/** @param {view.Card} card */
export function saved({ told }) {
  const files = Array.isArray(told?.job.saved_files) ? told.job.saved_files : [];
  const problem = told?.job.save_problem;
  const path = (file) => Object.assign(element("bdi", String(file)), { dir: "ltr" });
  const lines = [...files.map((file) => element("li", "Saved: ", path(file))), ...(problem ? [element("li", `Not saved: ${problem}`)] : [])];
  at("saved").replaceChildren(...lines);
  at("saved").hidden = !lines.length;
}

/** @param {view.Card} card */
export function trouble(card) {
  const { told } = card;
  const shown = told && ["failed", "told"].includes(told.phase);
  at("trouble").hidden = !shown;
  if (!shown) return;
  const { error } = told;
  const problems = Array.isArray(error?.problems) ? error.problems : [];
  at("trouble").classList.toggle("calm", told.phase === "told");
  maybe("wrong", told.phase === "told" ? "" : failing.headline(error));
  maybe("reason", problems.reduce((rest, { message }) => rest.replace(message, ""), String(error?.message ?? told.text)).trim());
  at("problems").replaceChildren(...problems.map((problem) => element("li", failing.told(problem))));
  at("problems").hidden = !problems.length;
  const parts = error?.suggestion ? failing.differences(error.suggestion, view.words(card)) : [];
  const marked = parts.flatMap(({ text, changed }, place) => [place ? " · " : " ", changed ? element("strong", text) : text]);
  at("suggestion").replaceChildren("This would work:", ...marked);
  at("suggestion").hidden = !parts.length;
  maybe("hint", failing.hint(error, view.openJob(card)));
}
