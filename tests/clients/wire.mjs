// What passes between a client and the server, kept; and requests that the client itself has no method for.

/**
 * Taps a transport that no client is connected to yet.
 *
 * `messages` are those of both directions, in order. `dispatch(request)` sends a request past the client, as the
 * tasks client wants it, and gives `{ kind: "result", result }` or `{ kind: "error", error }`.
 */
export function tapped(transport) {
  const messages = [];
  const waiting = new Map();
  const send = transport.send.bind(transport);
  let toClient;

  transport.send = (message, options) => {
    messages.push(message);
    return send(message, options);
  };
  Object.defineProperty(transport, "onmessage", {
    get: () => toClient && receive,
    set: (handler) => (toClient = handler),
  });

  function receive(message, extra) {
    messages.push(message);
    const answer = waiting.get(message.id);
    if (!answer) return toClient(message, extra);
    waiting.delete(message.id);
    if (message.error) answer({ kind: "error", error: message.error });
    else answer({ kind: "result", result: message.result });
  }

  async function dispatch({ method, params }) {
    const id = `past-the-client-${messages.length}`;
    const { promise, resolve } = Promise.withResolvers();
    waiting.set(id, resolve);
    await transport.send({ jsonrpc: "2.0", id, method, params });
    return promise;
  }

  return { messages, dispatch };
}
