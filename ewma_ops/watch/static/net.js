// The connection: one stream of what is looked at, and requests that say what that is.

const newName = () => (crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2));

export async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  return fetch(path, { ...options, credentials: "same-origin" });
}

// Gives a token of the address away once, for a cookie, and takes it out of the address.
export async function enter() {
  const found = /(?:^#|&)token=([^&]*)/.exec(location.hash);
  if (!found) return;
  await ask("/token", { token: decodeURIComponent(found[1]) });
  history.replaceState(null, "", "#" + location.hash.slice(1).replace(/&?token=[^&]*/, ""));
}

export class Stream {
  constructor(view, onFrame, onLost) {
    this.view = view;
    this.onFrame = onFrame;
    this.onLost = onLost;
    this.source = null;
    this.sending = null;
    this.tab = "";
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
  }

  open() {
    if (this.source) return;
    this.tab = newName();
    const source = new EventSource(`/stream?tab=${this.tab}`);
    this.source = source;
    source.onopen = () => this.send();
    source.onmessage = (event) => this.onFrame(JSON.parse(event.data));
    source.onerror = () => {
      this.onLost();
      if (source.readyState === EventSource.CLOSED) {
        this.source = null;
        setTimeout(() => !document.hidden && this.open(), 1500);
      }
    };
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  // Begins anew: the first frame has all that is looked at.
  again() {
    this.close();
    this.open();
  }

  // Says what is looked at; of several within a moment the last one.
  send() {
    if (this.sending) return;
    this.sending = setTimeout(async () => {
      this.sending = null;
      try {
        await ask(`/view?tab=${this.tab}`, this.view());
      } catch {
        this.onLost();
      }
    }, 20);
  }
}
