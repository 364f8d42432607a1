// The server's API: the key, requests, and answers that come as server-sent events.

const keyName = "nosa-api-key";
let wantKey = () => {};

// `f` is called when the server refuses for want of a valid key.
export function onKeyWanted(f) { wantKey = f; }
export function setKey(key) { sessionStorage.setItem(keyName, key); }

function headers() {
  const key = sessionStorage.getItem(keyName);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function failure(response) {
  if (response.status === 401) wantKey();
  let message = `the server answered ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // Not the API's own error: the status has to do.
  }
  const wait = response.headers.get("Retry-After");
  if (wait) message += ` (try again in ${wait} s)`;
  return new ApiError(message, response.status);
}

// Null: there is nothing there (204).
export async function getJson(path) {
  const response = await fetch(path, { headers: headers(), cache: "no-store" });
  if (!response.ok) throw await failure(response);
  return response.status === 204 ? null : response.json();
}

// The data of each event of a stream, parsed, until "[DONE]" or its end. Lines may be cut anywhere between reads.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;  // comments keep the connection alive
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

// Chunks of a chat completion. The first ones tell of the prompt in `nosa`.
export async function* streamChat(request, signal) {
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers() },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true }, nosa: { progress: true } }),
    signal,
  });
  if (!response.ok) throw await failure(response);
  for await (const chunk of events(response.body)) {
    if (chunk.error) throw new ApiError(chunk.error.message, response.status);
    yield chunk;
  }
}
