// The conversation: composes requests, and shows answers as they come.

import { ApiError, getJson, streamChat } from "./api.js";
import * as format from "./format.js";

const longPaste = 4000;                  // characters from which a paste becomes a document
const largestFile = 16 * 1024 * 1024;    // bytes; the server has the last word
const announceEvery = 2500;              // milliseconds between two announcements to a screen reader

const get = (id) => document.getElementById(id);

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Says whole sentences of an answer to a screen reader while it comes, not every token.
class Announcer {
  constructor(region) {
    this.region = region;
    this.waiting = "";
    this.last = 0;
  }
  say(text) {
    this.region.textContent = text;
    this.last = performance.now();
  }
  add(text) {
    this.waiting += text;
    if (performance.now() - this.last < announceEvery) return;
    const end = Math.max(...[". ", "! ", "? ", "\n"].map((mark) => this.waiting.lastIndexOf(mark)));
    if (end < 0) return;
    this.say(this.waiting.slice(0, end + 1));
    this.waiting = this.waiting.slice(end + 1);
  }
  finish(note) {
    this.say(`${this.waiting} ${note}`.trim());
    this.waiting = "";
  }
}

// One answer on the page: its progress, its text, and what it took.
class AnswerTurn {
  constructor(log) {
    this.node = element("div", "turn assistant streaming");
    this.body = element("div", "body");
    this.foot = element("p", "foot");
    this.reading = element("div", "reading");
    this.readingText = element("span", "", "Waiting for the server");
    this.bar = element("progress");
    this.bar.setAttribute("aria-label", "Prompt read");
    this.reading.append(this.readingText, this.bar);
    this.node.append(element("p", "who", "Answer"), this.reading, this.body, this.foot);
    this.body.hidden = true;
    log.append(this.node);
    this.text = "";
  }
  progress(nosa) {
    if (nosa.queue_place > 0) {
      const before = nosa.queue_place - 1;  // the place counts this one too
      this.readingText.textContent = before > 0 ? `Waiting: ${format.plural(before, "request")} before this one` : "Waiting for room";
    } else if (nosa.prompt_tokens > 0) {
      this.bar.max = nosa.prompt_tokens;
      this.bar.value = nosa.prompt_done;
      this.readingText.textContent = `Reading the prompt: ${format.count(nosa.prompt_done)} of ${format.plural(nosa.prompt_tokens, "token")}`;
    }
  }
  add(text) {
    this.reading.hidden = true;
    this.body.hidden = false;
    this.text += text;
    this.body.textContent = this.text.trimStart();
  }
  finish(note, bad) {
    this.node.classList.remove("streaming");
    this.reading.hidden = true;
    this.foot.textContent = note;
    this.foot.classList.toggle("bad", bad);
  }
}

export class Chat {
  // `began(id)` is called with the server's id of the request once it is known; `ended()` when it is over.
  constructor(began, ended) {
    this.began = began;
    this.ended = ended;
    this.model = null;
    this.messages = [];
    this.documents = [];  // {name, text}
    this.abort = null;    // of the answer that is coming
    this.announcer = new Announcer(get("announcer"));
    this.log = get("log");
    this.welcome = get("welcome");
    this.prompt = get("prompt");
    this.connect();
  }

  connect() {
    get("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
    });
    this.prompt.addEventListener("input", () => this.grow());
    this.prompt.addEventListener("paste", (event) => {
      const text = event.clipboardData.getData("text/plain");
      if (text.length < longPaste) return;
      event.preventDefault();
      this.addDocument("Pasted text", text);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.abort) this.stop();
    });
    get("stop").addEventListener("click", () => this.stop());
    get("new-chat").addEventListener("click", () => this.clear());
    get("add-file").addEventListener("click", () => get("file").click());
    get("file").addEventListener("change", (event) => {
      this.addFiles([...event.target.files]);
      event.target.value = "";
    });
    const composer = get("composer");
    composer.addEventListener("dragover", (event) => {
      event.preventDefault();
      composer.classList.add("dropping");
    });
    composer.addEventListener("dragleave", () => composer.classList.remove("dropping"));
    composer.addEventListener("drop", (event) => {
      event.preventDefault();
      composer.classList.remove("dropping");
      this.addFiles([...event.dataTransfer.files]);
    });
  }

  grow() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${this.prompt.scrollHeight + 2}px`;
  }

  async addFiles(files) {
    for (const file of files) {
      if (file.size > largestFile) {
        this.note(`${file.name} has ${format.bytes(file.size)}; at most ${format.bytes(largestFile)} can be added`);
        continue;
      }
      const text = await file.text();
      if (text.includes("\0")) this.note(`${file.name} is not a text file`);
      else this.addDocument(file.name, text);
    }
    this.prompt.focus();
  }

  addDocument(name, text) {
    const entry = { name, text };
    this.documents.push(entry);
    const chip = element("div", "document");
    const remove = element("button", "", "Remove");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => {
      this.documents = this.documents.filter((other) => other !== entry);
      chip.remove();
      this.prompt.focus();
    });
    chip.append(element("span", "", `${name} · ${format.plural(text.length, "character")}`), remove);
    get("documents").append(chip);
    this.announcer.say(`${name} added`);
  }

  note(text) {
    const node = element("p", "turn foot bad", text);
    node.setAttribute("role", "alert");
    this.place(node);
  }

  // At the end of the log, and in view.
  place(node) {
    this.welcome.hidden = true;
    this.log.append(node);
    this.log.scrollTop = this.log.scrollHeight;
  }

  clear() {
    this.stop();
    this.messages = [];
    this.documents = [];
    get("documents").replaceChildren();
    this.log.replaceChildren(this.welcome);
    this.welcome.hidden = false;
    this.prompt.focus();
  }

  stop() { this.abort?.abort(); }

  settings() {
    const number = (id) => (get(id).value === "" ? undefined : Number(get(id).value));
    return { max_tokens: number("max-tokens"), temperature: number("temperature"), seed: number("seed") };
  }

  showUser(question) {
    const node = element("div", "turn user"), body = element("div", "body");
    for (const file of this.documents) body.append(element("span", "attached", `${file.name} · ${format.plural(file.text.length, "character")}`));
    body.append(question);
    node.append(element("p", "who", "You"), body);
    this.place(node);
  }

  async send() {
    const question = this.prompt.value.trim();
    if (this.abort || (question === "" && this.documents.length === 0)) return;
    this.showUser(question);
    const content = [...this.documents.map((file) => file.text), question].filter((part) => part !== "").join("\n\n");
    this.messages.push({ role: "user", content });
    this.documents = [];
    get("documents").replaceChildren();
    this.prompt.value = "";
    this.grow();
    get("settings").open = false;
    await this.answer();
  }

  async answer() {
    const abort = (this.abort = new AbortController());
    const of = this.messages;
    this.setBusy(true);
    const turn = new AnswerTurn(this.log);
    this.log.scrollTop = this.log.scrollHeight;
    this.announcer.say("Reading the prompt");
    const took = { begin: performance.now(), first: 0, usage: null, reason: null };
    let error = null;
    try {
      await this.receive(turn, took, abort.signal);
    } catch (caught) {
      error = caught;
    }
    this.abort = null;
    this.setBusy(false);
    const stopped = abort.signal.aborted;
    const bad = error !== null && !stopped;
    if (bad) turn.finish(error instanceof ApiError ? error.message : `The connection broke: ${error.message}`, true);
    else turn.finish(this.summary(took, stopped), false);
    // A question without an answer is not part of the conversation.
    if (turn.text !== "") of.push({ role: "assistant", content: turn.text });
    else of.pop();
    this.announcer.finish(bad ? turn.foot.textContent : stopped ? "Stopped." : "Answer complete.");
    this.ended();
  }

  async receive(turn, took, signal) {
    this.model ??= (await getJson("/v1/models")).data[0].id;
    const request = { model: this.model, messages: this.messages, ...this.settings() };
    for await (const chunk of streamChat(request, signal)) {
      const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
      if (chunk.nosa) {
        if (turn.id === undefined && chunk.nosa.answer_id !== undefined) this.began((turn.id = chunk.nosa.answer_id));
        turn.progress(chunk.nosa);
      }
      if (chunk.usage) took.usage = chunk.usage;
      const choice = chunk.choices?.[0];
      if (choice?.finish_reason) took.reason = choice.finish_reason;
      if (choice?.delta?.content) {
        if (took.first === 0) took.first = performance.now();
        turn.add(choice.delta.content);
        this.announcer.add(choice.delta.content);
      }
      if (atEnd) this.log.scrollTop = this.log.scrollHeight;
    }
  }

  summary(took, stopped) {
    const parts = [];
    if (stopped) parts.push("stopped");
    else if (took.reason === "length") parts.push("cut at the most tokens");
    const now = performance.now();
    if (took.first > 0) parts.push(`first token after ${format.seconds((took.first - took.begin) / 1000)}`);
    if (took.usage) {
      const { prompt_tokens, completion_tokens, prompt_tokens_details } = took.usage;
      const cached = prompt_tokens_details?.cached_tokens ?? 0;
      parts.push(`${format.count(prompt_tokens)} tokens read${cached > 0 ? ` (${format.count(cached)} from the cache)` : ""}`);
      parts.push(`${format.count(completion_tokens)} written`);
      if (took.first > 0 && completion_tokens > 1) parts.push(`${format.rate((completion_tokens - 1) / ((now - took.first) / 1000))} tok/s`);
    }
    return parts.join(" · ");
  }

  setBusy(busy) {
    const focused = document.activeElement;
    get("send").hidden = busy;
    get("stop").hidden = !busy;
    if (busy && focused === get("send")) get("stop").focus();
    if (!busy && focused === get("stop")) this.prompt.focus();
  }
}
