// What mail programs do not support of what e-mails use, by caniemail.com: nothing that an e-mail needs to be read.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { caniemail } from 'caniemail';

const PROGRAMS = [
  'apple-mail.ios',
  'apple-mail.macos',
  'gmail.android',
  'gmail.desktop-webmail',
  'gmail.ios',
  'outlook.ios',
  'outlook.macos',
  'outlook.windows',
  'samsung-email.android',
  'thunderbird.macos',
  'yahoo.desktop-webmail',
];
// What may be missing, and what is there instead.
const ENHANCEMENTS = {
  '@media': 'dark colours of our own: without them light ones, or those of the program, are as legible (browser.mjs)',
  'border-radius': 'round corners: without them square ones',
  'word-break': 'a name without a space in it is broken: without it the e-mail is wider',
  '<body> element': 'its colour: that of the table in it is the same',
  'height property': 'none is used: this is how the package sees line-height',
};
// What every program supports as it is used here: what is missing are values that are not used.
const PARTLY = new Set([
  '<style> element',
  'align attribute',
  'background',
  'border',
  'dir attribute',
  'display',
  'display:none',
  'font-size',
  'font-weight',
  'lang attribute',
  'line-height',
  'margin',
  'max-width',
  'padding',
  'role attribute',
  'text-decoration',
  'width attribute',
  'width property',
]);

let failed = false;
const fail = (text) => {
  console.error(text);
  failed = true;
};
const used = new Set();
for (const kind of ['digest', 'reminder', 'expiry-reminder', 'question']) {
  const html = readFileSync(join(process.argv[2], `${kind}.html`), 'utf8');
  const { issues } = caniemail({ clients: PROGRAMS, html });
  for (const [program, found] of issues.errors) {
    for (const { title } of found) {
      used.add(title);
      if (!(title in ENHANCEMENTS)) fail(`${kind}: ${program} does not support ${title}`);
    }
  }
  for (const [program, found] of issues.warnings) {
    for (const { title, notes } of found) {
      used.add(title);
      if (!(title in ENHANCEMENTS) && !PARTLY.has(title)) fail(`${kind}: ${program}, ${title}: ${notes.join(' ')}`);
    }
  }
  if (/[;"\s](max-|min-)?height:/.test(html)) fail(`${kind} sets a height`);
  if (Buffer.byteLength(html) >= 60_000) fail(`${kind} is as large as ${Buffer.byteLength(html)} bytes`);
}
for (const title of [...Object.keys(ENHANCEMENTS), ...PARTLY]) {
  if (!used.has(title)) fail(`${title} is in the lists, and no e-mail uses it, or every program supports it`);
}
if (!failed) console.log(`${PROGRAMS.length} mail programs support what e-mails need`);
process.exit(failed ? 1 : 0);
