/** The host's side of the page, in the browser: the library's own AppBridge around a sandboxed iframe. */

import { AppBridge, PostMessageTransport, buildAllowAttribute } from "@modelcontextprotocol/ext-apps/app-bridge";

let bridge;
/** The methods of all messages from the player. */
window.methods = [];
window.addEventListener("message", ({ data }) => data?.method && window.methods.push(data.method));

/** Shows the player. Its calls, reads and requests go to the test by `hostCall`, `hostRead` and `hostEvent`. */
window.start = async ({ frame, capabilities, context, permissions, allow, label }) => {
  const iframe = Object.assign(document.createElement("iframe"), { title: label, allow: [buildAllowAttribute(permissions), allow].filter(Boolean).join("; ") });
  iframe.sandbox.add("allow-scripts");
  document.querySelector("#chat").append(iframe);
  bridge = new AppBridge(null, { name: "test host", version: "1" }, capabilities, { hostContext: context });
  const report = (name) => (params) => window.hostEvent(name, params);
  if (capabilities.serverTools) bridge.oncalltool = (params) => window.hostCall(params);
  if (capabilities.serverResources) bridge.onreadresource = (params) => window.hostRead(params);
  if (capabilities.message) bridge.onmessage = report("message");
  if (capabilities.openLinks) bridge.onopenlink = report("open");
  if (capabilities.downloadFile) bridge.ondownloadfile = report("download");
  if (capabilities.updateModelContext) bridge.onupdatemodelcontext = report("context");
  bridge.onrequestdisplaymode = async ({ mode }) => {
    await window.hostEvent("display", { mode });
    bridge.setHostContext({ ...context, displayMode: mode });
    return { mode };
  };
  if (context.displayMode === "fullscreen") iframe.style.height = "800px";
  // The border is part of the frame's height.
  else bridge.onsizechange = ({ height }) => (iframe.style.height = `${height + 2}px`);
  const ready = new Promise((resolve) => (bridge.oninitialized = resolve));
  await bridge.connect(new PostMessageTransport(iframe.contentWindow, iframe.contentWindow));
  iframe.src = frame;
  await ready;
};

/** Sends something to the player, by the bridge's method of that name. */
window.send = (method, params) => bridge[method](params).then(() => undefined);
