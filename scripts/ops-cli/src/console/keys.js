// Everything works without this: keys, and pages that load themselves again.
'use strict';
const main = () => document.querySelector('main');
const rows = () => [...document.querySelectorAll('tbody tr')];
let at = -1, after = '', paused = false;
const go = (step) => {
  const all = rows();
  if (!all.length) return;
  at = Math.min(Math.max(at + step, 0), all.length - 1);
  all.forEach((row, index) => row.classList.toggle('at', index === at));
  all[at].scrollIntoView({ block: 'nearest' });
  (all[at].querySelector('a') || all[at]).focus();
};
const say = (text) => { document.querySelector('#live').textContent = text; };
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== 'checkbox') {
    if (key === 'Escape') event.target.blur();
    return;
  }
  if (after === 'g') {
    after = '';
    const link = document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`);
    if (link) location.assign(link.href);
    return;
  }
  const box = at >= 0 && rows()[at] && rows()[at].querySelector('input[type=checkbox]');
  if (key === 'g') after = 'g';
  else if (key === '/') { event.preventDefault(); document.querySelector('#find').focus(); }
  else if (key === 'j') go(1);
  else if (key === 'k') go(-1);
  else if (key === 'x' && box) box.checked = !box.checked;
  else if (key === 'p') { paused = !paused; say(paused ? 'paused; p continues' : ''); }
  else if (key === '?') document.querySelector('#keys').toggleAttribute('open');
});
if (document.body.dataset.live) {
  setInterval(async () => {
    const busy = main().querySelector('input:focus, select:focus, input:checked, #keys[open]') || [...main().querySelectorAll('input[name=why]')].some((field) => field.value);
    if (paused || document.hidden || busy) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      if (answer.ok && page.querySelector('main')) { main().replaceWith(page.querySelector('main')); if (at >= 0) go(0); }
    } catch { say('the console does not respond'); }
  }, 5000);
}
