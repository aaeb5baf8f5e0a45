/** The upload panel: takes a picture from the person, and gives it to the chat as one that the server has uploaded. */

import { App, PostMessageTransport } from "@modelcontextprotocol/ext-apps";
import { byId, setText } from "../dom.js";
import { Host } from "../host.js";
import { ACCEPTED } from "./files.js";
import { PASTE_KEYS, listen } from "./intake.js";
import { PicturePanel } from "./panel.js";
import { renderPanel } from "./render.js";
import { Stage } from "./stage.js";

const app = new App({ name: "luma-ray-mcp upload panel", version: "1" }, {});
const host = new Host(app);
const panel = new PicturePanel(host, render);
const stage = new Stage(byId("stage"), (crop, isKey) => panel.setCrop(crop, isKey));

function render() {
  renderPanel(panel, stage);
}

app.ontoolinput = (params) => {
  panel.arguments = params.arguments ?? {};
};
app.ontoolresult = (toolResult) => panel.receive(toolResult);
app.ontoolcancelled = () => void panel.open();
app.onhostcontextchanged = () => host.applyTheme();
app.onteardown = async () => {
  await panel.stop();
  return {};
};
byId("file").accept = ACCEPTED;
setText("paste-keys", PASTE_KEYS);
listen((files) => panel.take(files), (problem) => panel.refuse(problem));
render();
app.connect(new PostMessageTransport(window.parent, window.parent)).then(
  () => {
    host.applyTheme();
    render();
  },
  () => byId("terms").replaceChildren("This page adds pictures to a chat."),
);
