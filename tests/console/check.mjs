// What is checked of the console, in this order: what fails stays so until the last part replays it.
import { after } from 'node:test';
import { chromium, failForGood } from './system.mjs';

await failForGood();
if (process.env.PICTURES) await import('./pictures.mjs');
await import('./views.mjs');
await import('./live.mjs');
await import('./sources.mjs');
await import('./hostile.mjs');
await import('./without_script.mjs');
await import('./incident.mjs');
after(() => chromium.close());
