// How e-mails and the inbox look in Chromium, light and dark, at three widths. Pictures are left for people.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [work, inbox, cache] = process.argv.slice(2);
const WIDTHS = [320, 390, 1280];
const SCHEMES = ['light', 'dark'];
const KINDS = ['digest', 'reminder', 'expiry-reminder', 'question'];
const HEIGHT = 1200;

const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
process.on('exit', () => rmSync(profile, { recursive: true, force: true, maxRetries: 5 }));
// Nothing is loaded from anywhere: every host name is unknown.
const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run',
  '--disable-extensions', '--disable-background-networking', '--disable-component-update', `--user-data-dir=${profile}`,
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];
const chromium = (...more) =>
  execFileSync('chromium', [...FLAGS, ...more], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 26, timeout: 60_000 });

async function inboxPage(html, text) {
  const send = async (path, init) => {
    const answer = await fetch(`${inbox}${path}`, init);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  const [subject, plain] = [text.split('\n')[0].slice('Subject: '.length), text.split('\n').slice(2).join('\n')];
  await send('/v3/mail/send', {
    method: 'POST',
    headers: { authorization: 'Bearer SG.stand-in.api-key', 'content-type': 'application/json' },
    body: JSON.stringify({
      personalizations: [{ to: [{ email: 'sam@example.test' }] }],
      from: { email: 'hello@catchup.example.test' },
      subject,
      headers: { 'List-Unsubscribe': '<https://hooks.catchup.example/unsubscribe/sample>' },
      content: [{ type: 'text/plain', value: plain }, { type: 'text/html', value: html }],
    }),
  });
  await send('/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json', {
    method: 'POST',
    headers: { authorization: `Basic ${btoa('AC00000000000000000000000000000000:stand-in-auth-token')}` },
    body: new URLSearchParams({ To: '+15005550009', From: '+15005550006', Body: 'CatchUp: time for Ana? Tue 6 PM.' }),
  });
  return (await send('/')).text();
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
const pages = KINDS.map((name) => ({ name, isMail: 'yes', html: readFileSync(join(work, `${name}.html`), 'utf8') }));
const texts = new Map(KINDS.map((name) => [name, readFileSync(join(work, `${name}.txt`), 'utf8')]));
pages.push({ name: 'inbox', isMail: 'no', html: await inboxPage(pages[0].html, texts.get('digest')) });

const frames = pages.flatMap(({ name, isMail, html }) =>
  WIDTHS.flatMap((width) =>
    SCHEMES.map(
      (scheme) =>
        `<iframe data-name="${name}" data-is-mail="${isMail}" data-width="${width}" data-scheme="${scheme}" ` +
        `style="border:0;width:${width}px;height:${HEIGHT}px;color-scheme:${scheme}" srcdoc="${escaped(html)}"></iframe>`,
    ),
  ),
);
const measured = join(work, 'measured.html');
writeFileSync(measured, `<!doctype html><meta charset="utf-8"><script>${readFileSync(join(cache, 'measure.js'), 'utf8')}</script><body>${frames.join('')}`);
const dom = chromium('--dump-dom', pathToFileURL(measured).href);
const results = JSON.parse(dom.match(/<script type="application\/json" id="result">(.*?)<\/script>/s)?.[1] ?? 'null');

let failed = false;
const fail = (text) => {
  console.error(text);
  failed = true;
};
if (results?.length !== frames.length) fail(`${results?.length} of ${frames.length} documents were measured`);
for (const text of new Set(results?.flatMap(({ wrong }) => wrong))) fail(text);
// What is seen is what the plain text says. Addresses of links are compared by a test of the crate `catchup`.
const words = (text) => text.replace(/: https:\/\/\S+/g, '').split(/\s+/).filter((word) => word && word !== '---').join(' ');
for (const { name, text } of results ?? []) {
  if (text === null) continue;
  const plain = words(texts.get(name).split('\n').slice(2).join('\n'));
  if (words(text) !== plain) fail(`${name} shows\n${words(text)}\nand its plain text says\n${plain}`);
}

for (const { name, html } of pages) {
  const file = join(work, `${name}.picture.html`);
  writeFileSync(file, html);
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) {
      const picture = join(cache, 'pictures', `${name}-${width}-${scheme}.png`);
      const dark = scheme === 'dark' ? ['--blink-settings=preferredColorScheme=0'] : [];
      // A window is never narrower than 500 px: a frame is.
      const framed = join(work, 'framed.html');
      writeFileSync(framed, `<!doctype html><meta charset="utf-8"><body style="margin:0"><iframe style="border:0;width:${width}px;height:${HEIGHT}px;color-scheme:${scheme}" srcdoc="${escaped(html)}"></iframe>`);
      chromium(...dark, '--virtual-time-budget=5000', `--window-size=${width},${HEIGHT}`, `--screenshot=${picture}`, pathToFileURL(framed).href);
    }
  }
}
if (!failed) console.log(`${frames.length} documents are legible; pictures are in ${join(cache, 'pictures')}`);
process.exit(failed ? 1 : 0);
