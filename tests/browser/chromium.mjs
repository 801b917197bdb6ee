// Headless Chromium, driven by the DevTools protocol through a pipe: neither a package nor a port is needed.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const TIMEOUT_MS = 120_000;
const POLL_MS = 50;
const MAX_TABS = 200;
// Nothing is loaded from anywhere: every host name is unknown.
const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run',
  '--disable-extensions', '--disable-background-networking', '--disable-component-update', '--remote-debugging-pipe',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];
// What a key types, and its number, for those that do something of their own.
const KEYS = { Enter: ['\r', 13], Escape: [undefined, 27], Tab: [undefined, 9] };

export class Chromium {
  #sent = new Map();
  #pages = new Map();
  #profile = mkdtempSync(join(tmpdir(), 'chromium-'));
  #process = spawn('chromium', [...FLAGS, `--user-data-dir=${this.#profile}`], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  });

  constructor() {
    let text = '';
    this.#process.stdio[4].setEncoding('utf8').on('data', (more) => {
      const messages = (text + more).split('\0');
      text = messages.pop();
      for (const message of messages) this.#receive(JSON.parse(message));
    });
    this.#process.on('exit', () => {
      for (const { reject } of this.#sent.values()) reject(new Error('Chromium has ended'));
    });
  }

  #receive({ id, result, error, method, params, sessionId }) {
    if (id === undefined) return this.#pages.get(sessionId)?.receive(method, params);
    const { resolve, reject } = this.#sent.get(id);
    this.#sent.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#sent.set(id, { resolve, reject }));
  }
  #next = 0;

  async page() {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page((method, params) => this.send(method, params, sessionId), () => this.send('Target.closeTarget', { targetId }));
    this.#pages.set(sessionId, page);
    for (const domain of ['Page', 'Network', 'Runtime', 'Log']) await page.send(`${domain}.enable`);
    return page;
  }

  async close() {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    await this.send('Browser.close').catch(() => {});
    await ended;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

class Page {
  // The addresses that were asked for.
  requests = [];
  // The status of each document, by its address.
  statuses = new Map();
  // What a page that works does not do: dialogs, exceptions, errors of the console and of the policy.
  problems = [];

  constructor(send, close) {
    this.send = send;
    this.close = close;
  }

  receive(method, params) {
    if (method === 'Network.requestWillBeSent') this.requests.push(params.request.url);
    else if (method === 'Network.responseReceived' && params.type === 'Document') this.statuses.set(params.response.url, params.response.status);
    else if (method === 'Runtime.exceptionThrown') this.problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    else if (method === 'Log.entryAdded' && params.entry.level === 'error' && params.entry.source !== 'network') this.problems.push(`${params.entry.text} ${params.entry.url ?? ''}`);
    else if (method === 'Page.javascriptDialogOpening') {
      this.problems.push(`dialog: ${params.message}`);
      this.send('Page.handleJavaScriptDialog', { accept: true });
    }
  }

  // How wide and high the window is, and which colours its person prefers. Narrow ones are telephones.
  async screen(width, height, scheme) {
    await this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  async open(url) {
    const { errorText } = await this.send('Page.navigate', { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await this.until('it is loaded', () => document.readyState === 'complete');
  }

  async show(html) {
    const { frameTree } = await this.send('Page.getFrameTree');
    await this.send('Page.setDocumentContent', { frameId: frameTree.frame.id, html });
  }

  // What an expression, or a function with its arguments, gives in the page.
  async evaluate(what, ...parameters) {
    const expression = typeof what === 'function' ? `(${what})(...${JSON.stringify(parameters)})` : what;
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  // Waits until that is so. Meanwhile a page may give way to the next one.
  async until(what, condition, ...parameters) {
    const end = Date.now() + TIMEOUT_MS;
    while (!(await this.evaluate(condition, ...parameters).catch(() => false))) {
      if (Date.now() > end) throw new Error(`not within ${TIMEOUT_MS} ms: ${what}; the page is ${await this.evaluate('`${location}: ${document.body.innerText}`')}`);
      await pause(POLL_MS);
    }
  }

  async press(...keys) {
    for (const key of keys) {
      const [text, number] = KEYS[key] ?? [key, key.toUpperCase().charCodeAt(0)];
      const event = { key, text, windowsVirtualKeyCode: number };
      await this.send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', ...event });
      await this.send('Input.dispatchKeyEvent', { type: 'keyUp', key, windowsVirtualKeyCode: number });
    }
  }

  type(text) {
    return this.press(...text);
  }

  // Moves the focus with the keyboard to what has this name: its text, or that of its label.
  async tabTo(name) {
    for (let pressed = 0; pressed < MAX_TABS; pressed += 1) {
      await this.press('Tab');
      const focused = await this.evaluate(() => (document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim());
      if (focused === name || focused.startsWith(`${name} `)) return;
    }
    throw new Error(`Tab does not reach "${name}" in ${MAX_TABS} steps`);
  }

  async picture() {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    return Buffer.from(data, 'base64');
  }
}
