/* A pause of all uploads: the server is away or busy, or nobody is signed in. */

const FIRST = 3;
const LONGEST = 60;
const SIGN_IN = "You are not signed in any more. Sign in in another tab, then try again here.";
let pause = null;
let round = 0;

/** What everything waits for: {sentence, signIn}, or null. */
export const paused = () => pause;

export function lift() {
  clearTimeout(pause?.timer);
  pause = null;
}

/** The server has taken a file: the next pause is a short one again. */
export const relax = () => (round = 0);

/** Wait until somebody has signed in and says so. */
export function waitForSession() {
  lift();
  pause = { sentence: SIGN_IN, signIn: true };
}

/** Wait for as long as the server asks for, longer each time, and go on. */
export function waitFor({ status, wait }, goOn) {
  if (pause) return;
  const seconds = Math.min((wait || FIRST) * 2 ** round++, LONGEST);
  const what = status ? "The server can’t take files right now" : "The connection broke";
  pause = {
    sentence: `${what}. This waits, and goes on by itself within ${seconds} s.`,
    signIn: false,
    timer: setTimeout(() => {
      lift();
      goOn();
    }, 1000 * seconds),
  };
}
