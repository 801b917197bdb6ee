// Keys. Everything works without them.
'use strict';
{
  const find = document.querySelector('#find');
  const help = document.querySelector('#keys');
  const rows = () => [...document.querySelectorAll('main tbody tr, main li')];
  // The row that is selected has the focus: Enter opens what is focused in it.
  const selected = () => rows().findIndex((row) => row.contains(document.activeElement));
  const select = (index) => {
    const all = rows();
    const row = all[Math.min(Math.max(index, 0), all.length - 1)];
    if (!row) return;
    row.tabIndex = -1;
    (row.querySelector('a, input') ?? row).focus();
    row.scrollIntoView({ block: 'nearest' });
  };
  const actions = {
    '/': () => {
      find.focus();
      find.select();
    },
    '?': () => {
      help.open = !help.open;
      if (help.open) help.querySelector('summary').focus();
    },
    j: () => select(selected() + 1),
    k: () => select(selected() < 0 ? 0 : selected() - 1),
    x: () => rows()[selected()]?.querySelector('input[type=checkbox]')?.click(),
    p: () => document.querySelector('#pause')?.click(),
  };
  let follows = false;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches('input:not([type=checkbox]), select, textarea')) {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    const page = follows && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    follows = !follows && event.key === 'g';
    const action = page ? () => page.click() : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
