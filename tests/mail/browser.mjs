// How e-mails and the inbox look in Chromium, light and dark, at three widths. Pictures are left for people.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Chromium } from '../browser/chromium.mjs';

const [work, inbox, pictures] = process.argv.slice(2);
const WIDTHS = [320, 390, 1280];
const SCHEMES = ['light', 'dark'];
const KINDS = ['digest', 'reminder', 'expiry-reminder', 'question'];
const HEIGHT = 1200;
const LIMITS = { minText: 14, minTap: 44 };

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

let failed = false;
const fail = (text) => {
  console.error(text);
  failed = true;
};
// What is seen is what the plain text says. Addresses of links are compared by a test of the crate `catchup`.
const words = (text) => text.replace(/: https:\/\/\S+/g, '').split(/\s+/).filter((word) => word && word !== '---').join(' ');

const read = (file) => readFileSync(join(work, file), 'utf8');
const mails = KINDS.map((name) => ({ name, html: read(`${name}.html`), text: read(`${name}.txt`) }));
const shown = [...mails, { name: 'inbox', html: await inboxPage(mails[0].html, mails[0].text) }];
const measure = readFileSync(new URL('../browser/measure.js', import.meta.url), 'utf8');
mkdirSync(pictures, { recursive: true });

const chromium = new Chromium();
const page = await chromium.page();
await page.evaluate(measure);
for (const { name, html, text } of shown) {
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) {
      await page.screen(width, HEIGHT, scheme);
      await page.show(html);
      const wrong = await page.evaluate(`measure(${JSON.stringify({ isMail: text !== undefined, ...LIMITS })})`);
      for (const what of wrong) fail(`${name}, ${width} px, ${scheme}: ${what}`);
      writeFileSync(join(pictures, `${name}-${width}-${scheme}.png`), await page.picture());
    }
  }
  if (text === undefined) continue;
  const [seen, plain] = [words(await page.evaluate('document.body.innerText')), words(text.split('\n').slice(2).join('\n'))];
  if (seen !== plain) fail(`${name} shows\n${seen}\nand its plain text says\n${plain}`);
}
await chromium.close();
if (!failed) console.log(`${shown.length * WIDTHS.length * SCHEMES.length} documents are legible; pictures are in ${pictures}`);
process.exit(failed ? 1 : 0);
