// Records the messages between a client and the server, and sends requests for which the client has no method.

/**
 * Records the messages of a transport. Call it before a client connects with the transport.
 *
 * `messages` has the messages of both directions, in order. `dispatch(request)` sends a request without the client, in
 * the form that the tasks client needs: it returns `{ kind: "result", result }` or `{ kind: "error", error }`.
 */
export function recordMessages(transport) {
  const messages = [];
  const pending = new Map();
  const send = transport.send.bind(transport);
  let forward;

  transport.send = (message, options) => {
    messages.push(message);
    return send(message, options);
  };
  Object.defineProperty(transport, "onmessage", {
    get: () => forward && receive,
    set: (handler) => (forward = handler),
  });

  function receive(message, extra) {
    messages.push(message);
    const resolve = pending.get(message.id);
    if (!resolve) return forward(message, extra);
    pending.delete(message.id);
    if (message.error) resolve({ kind: "error", error: message.error });
    else resolve({ kind: "result", result: message.result });
  }

  async function dispatch({ method, params }) {
    const id = `dispatched-${messages.length}`;
    const { promise, resolve } = Promise.withResolvers();
    pending.set(id, resolve);
    await transport.send({ jsonrpc: "2.0", id, method, params });
    return promise;
  }

  return { messages, dispatch };
}
