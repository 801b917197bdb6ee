// A page is asked for again while a person looks at it, and says how old it is. Without this it stays as it was.
{
  const EVERY_MS = 5000;
  const CONTROLS = 'a, button, input, select, summary, tr, li';
  const main = () => document.querySelector('main');
  const controls = () => [...main().querySelectorAll(CONTROLS)];
  const pause = document.querySelector('#pause');
  const status = document.querySelector('#status');
  let received = performance.now();

  // Since a time of the server's clock, which need not be that of this machine.
  const age = (time) => {
    const ms = Date.parse(main().dataset.now) - Date.parse(time) + performance.now() - received;
    const seconds = Math.max(0, Math.round(ms / 1000));
    return seconds < 120 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ago`;
  };
  const showAges = () => {
    for (const time of document.querySelectorAll('#ages time')) time.textContent = age(time.dateTime);
  };

  // The reader's own time, where that is not UTC.
  const zone = { weekday: 'short', hour: '2-digit', minute: '2-digit', timeZoneName: 'short' };
  const showLocalTimes = () => {
    for (const time of document.querySelectorAll('time.local')) {
      const date = new Date(time.dateTime);
      if (date.getTimezoneOffset() !== 0) time.textContent = `${time.dateTime} (${date.toLocaleString('en-GB', zone)})`;
    }
  };

  const initial = (field) => field.defaultValue ?? [...field.options].find((it) => it.defaultSelected)?.value ?? '';
  const isBeingFilledIn = (field) => field === document.activeElement || field.value !== initial(field);
  const isInUse = () => [...main().querySelectorAll('input:not([type=checkbox]), select')].some(isBeingFilledIn);
  const isPaused = () => pause.ariaPressed === 'true' || document.hidden || isInUse();

  // What has the focus, and what is checked, is the same afterwards.
  const identity = (it) => [it.tagName, it.getAttribute('href'), it.name, it.value, it.rowIndex].join(' ');
  const replaceMain = (next) => {
    const focused = controls().filter((it) => it === document.activeElement).map(identity);
    const checked = controls().filter((it) => it.checked).map(identity);
    main().replaceWith(next);
    for (const control of controls()) {
      if (checked.includes(identity(control))) control.checked = true;
    }
    const again = controls().find((it) => focused.includes(identity(it)));
    if (again?.matches('tr, li')) again.tabIndex = -1;
    again?.focus({ preventScroll: true });
    showLocalTimes();
  };
  let isAsking = false;
  const refresh = async () => {
    if (isPaused() || isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch(location.href);
      // The rest has a style of its own, which the policy of this page does not allow.
      const [html] = (await answer.text()).match(/<main.*<\/main>/s) ?? [''];
      const next = new DOMParser().parseFromString(html, 'text/html').querySelector('main');
      if (!answer.ok) throw new Error(next?.textContent);
      if (isPaused()) return;
      replaceMain(next);
      received = performance.now();
      status.textContent = '';
    } catch (error) {
      status.textContent = `Not updated: ${error.message}`;
    } finally {
      isAsking = false;
    }
    showAges();
  };

  showAges();
  showLocalTimes();
  setInterval(showAges, 1000);
  if (pause) {
    pause.hidden = false;
    pause.addEventListener('click', () => {
      pause.ariaPressed = pause.ariaPressed !== 'true';
      refresh();
    });
    document.addEventListener('visibilitychange', refresh);
    setInterval(refresh, EVERY_MS);
  }
}
