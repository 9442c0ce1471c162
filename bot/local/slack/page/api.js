// The local Slack's control API, as this page uses it: calls, and the stream of what changed.

async function answerOf(response) {
  const answer = await response.json().catch(() => ({ ok: false, error: `HTTP ${response.status}` }));
  if (!answer.ok) throw new Error(answer.error ?? `HTTP ${response.status}`);
  return answer;
}

/** Asks `GET /control/NAME`; raises with the server's word for it when the answer is not ok. */
export async function get(name, query = {}) {
  return answerOf(await fetch(`/control/${name}?${new URLSearchParams(query)}`));
}

/** Does `POST /control/NAME`; raises with the server's word for it when the answer is not ok. */
export async function post(name, body) {
  return answerOf(await fetch(`/control/${name}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  }));
}

/**
 * Follows `GET /control/changes`. `changed(change)` gets each change, `online(isOnline)` is told when the stream
 * opens and when it is lost. The browser tries again by itself; only an answer that is no stream ends that, and
 * then this opens a new one.
 */
export function follow(changed, online) {
  const source = new EventSource("/control/changes");
  source.onopen = () => online(true);
  source.onmessage = (event) => changed(JSON.parse(event.data));
  source.onerror = () => {
    online(false);
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => follow(changed, online), 2000);
  };
}

/** Makes of `load` a function that runs one at a time: calls while it runs become one more run after it. */
export function oneAtATime(load) {
  let running = null;
  let isWanted = false;
  return function run() {
    isWanted = true;
    running ??= (async () => {
      try {
        while (isWanted) { isWanted = false; await load(); }
      } finally { running = null; }
    })();
    return running;
  };
}
