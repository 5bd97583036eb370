// Entries of a page. A browser may have kept damaged ones, or times of a clock that jumped: only what fits is taken.
const MAX_SECONDS = 1e6, MAX_PLAYS = 1e6;  // as the server cuts them, see values.py

const within = (value, most) => typeof value === "number" ? Math.min(Math.max(value, 0), most) || 0 : 0;  // NaN: 0

// An answer with values of these emotions on the scale, and with times and plays within their limits.
export function bounded(found, emotions, {low, high}) {
  const {values, plays, seconds} = found ?? {};
  const fits = ([emotion, value]) => emotions.includes(emotion) && Number.isInteger(value) && low <= value && value <= high;
  return {
    values: Object.fromEntries(Object.entries(values ?? {}).filter(fits)),
    plays: Math.floor(within(plays, MAX_PLAYS)),
    seconds: within(seconds, MAX_SECONDS),
  };
}
