// Search without a server: browsers refuse web workers on file:// pages, so the worker of the search runs in a hidden
// iframe there. The theme's offline plugin would load such a script from elsewhere.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      window.addEventListener("message", (event) => {
        if (event.source !== this.frame.contentWindow) return;
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
        if (this.onmessage) this.onmessage(event);
      });
      const load = async (...sources) => {
        for (const source of sources) {
          await new Promise((done) => {
            const script = Object.assign(document.createElement("script"), { src: source, onload: done });
            document.body.append(script);
          });
        }
      };
      const page = this.frame.contentWindow;
      page.document.open();
      page.document.write(
        `<body><script>postMessage = (data) => parent.postMessage(data, "*"); importScripts = ${load}</script>` +
          `<script src="${url}"></script></body>`,
      );
      page.document.close();
      this.loaded = new Promise((done) => page.addEventListener("load", done));
    }

    postMessage(data) {
      this.loaded.then(() =>
        this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) })),
      );
    }

    terminate() {
      this.frame.remove();
    }
  };
}
